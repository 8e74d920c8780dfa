"""The best classes of images, one file after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camlens.core.errors import DataError, InputError
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.layers import checked_model
from camlens.gradcam import Prediction
from camlens.models import LoadedModel
from camlens.panels.explaining import FailedImage, ranked


@dataclass(frozen=True)
class PredictedImage:
    """The best classes of one image, best first."""

    path: Path
    predictions: list[Prediction]


def predict_files(
    loaded: LoadedModel, paths: Sequence[Path], *, top_k: int = 5
) -> Iterator[PredictedImage | FailedImage]:
    """Predict files one after the other; what cannot be read or taken comes out as a FailedImage.

    Raises TargetError (target.needed) if the model returns features, and ModelError (model.class-names) if it has
    class names of another number than outputs.
    """
    from camlens.data.decode import decode_image  # brings Pillow, which is optional

    model = checked_model(loaded.model)
    for path in paths:
        try:
            inputs = loaded.preprocess(decode_image(path))[None]
            session = Session(model, checked_inputs(inputs.to(loaded.device)), output=loaded.reader)
            with undisturbed(model, loaded.device):
                output = session.run()
                logits = (output.class_scores() if loaded.task == "classification" else output.logits())[0]
        except (DataError, InputError) as error:
            yield FailedImage(path, str(error))
        else:
            yield PredictedImage(path, ranked(loaded, logits, top_k))
