"""The best classes of images, one file after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from camlens.core.errors import DataError, InputError
from camlens.gradcam import Prediction, get_top_predictions
from camlens.models import LoadedModel
from camlens.panels.explaining import FailedImage


@dataclass(frozen=True)
class PredictedImage:
    """The best classes of one image, best first."""

    path: Path
    predictions: list[Prediction]


def predict_files(
    loaded: LoadedModel, paths: Sequence[Path], *, top_k: int = 5
) -> Iterator[PredictedImage | FailedImage]:
    """Predict files one after the other; what cannot be read or taken comes out as a FailedImage."""
    from camlens.data.decode import decode_image  # brings Pillow, which is optional

    for path in paths:
        try:
            inputs = loaded.preprocess(decode_image(path))
            found = get_top_predictions(loaded.model, loaded.device, inputs, loaded.class_names, top_k)
        except (DataError, InputError) as error:
            yield FailedImage(path, str(error))
        else:
            yield PredictedImage(path, found)
