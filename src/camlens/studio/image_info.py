"""Name, true class and prediction of an image."""

from torch import Tensor

from camlens.core.probabilities import best_outputs, class_name
from camlens.studio.bench import Workbench
from camlens.studio.images import UNKNOWN
from camlens.studio.predictions import UNREADABLE
from camlens.studio.schemas import ImageInfo, Prediction

TOP = 5


def image_info(bench: Workbench, image: str) -> ImageInfo:
    """Return name, true class and prediction of an image, as far as they are known."""
    if image.startswith("u"):
        bench.uploads.find(image)
        return ImageInfo(
            id=image,
            name="uploaded image",
            label=None,
            label_name=None,
            prediction=None,
            correct=None,
            readable=True,
        )
    number = bench.gallery.checked(int(image[1:]))
    names, predictions = bench.model.class_names, bench.predictions
    label = int(predictions.labels[number])
    index = int(predictions.classes[number])
    known = label != UNKNOWN
    prediction = None
    if index >= 0:
        prediction = Prediction(
            index=index, name=class_name(index, names), confidence=float(predictions.confidences[number])
        )
    return ImageInfo(
        id=image,
        name=bench.gallery.name(number),
        label=label if known else None,
        label_name=class_name(label, names) if known else None,
        prediction=prediction,
        correct=bool(predictions.correct[number]) if known and index >= 0 else None,
        readable=index != UNREADABLE,
    )


def predictions_of(bench: Workbench, image: str, logits: Tensor | None) -> tuple[Prediction, ...]:
    """Return the most likely classes, or the outputs of a regression; store the prediction of a dataset image."""
    if logits is None:
        return ()
    model = bench.model
    best = best_outputs(logits[0], TOP, model.activation, model.task)
    if image.startswith("s") and model.task == "classification":
        bench.predictions.put(int(image[1:]), *best[0])
    names = model.class_names
    return tuple(Prediction(index=index, name=class_name(index, names), confidence=value) for index, value in best)
