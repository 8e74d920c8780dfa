"""Images explained one by one: a file that cannot be read costs itself, and the others still get done."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.errors import DataError, EvidenceWarning, InputError, MisfitError
from camlens.core.probe import Progress, silent
from camlens.core.registry import METHODS
from camlens.core.targets import Target
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.gradcam import Prediction
from camlens.models import LoadedModel
from camlens.panels.naming import class_name

Pixels = NDArray[np.uint8]
_FAMILY_CHOICE = "the model family's own choice"


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image with its explanation, the picture (h, w, 3) as the model saw it, and the best classes."""

    path: Path
    picture: Pixels
    explanation: Explanation
    predictions: list[Prediction]
    class_names: Sequence[str]

    @property
    def heatmap(self) -> NDArray[np.float32]:
        """The heat map of the only target, in [0, 1], at the picture's size."""
        heatmaps = self.explanation.heatmaps(size=self.picture.shape[:2])
        return heatmaps[0, 0].nan_to_num(0).cpu().numpy()

    @property
    def evidence(self) -> NDArray[np.float32] | None:
        """Evidence for and against in [-1, 1] at the picture's size, where the map is one of both."""
        if not self.explanation.shows_both_signs():
            return None
        return self.explanation.signedmaps(size=self.picture.shape[:2])[0, 0].nan_to_num(0).cpu().numpy()

    @property
    def target(self) -> str:
        """What is explained, in words."""
        index = self.class_index
        return self.explanation.targets[0] if index is None else class_name(index, self.class_names)

    @property
    def class_index(self) -> int | None:
        """The class that the score is about, where it is about one."""
        classes = self.explanation.classes
        return None if classes is None else int(classes[0, 0])

    @property
    def confidence(self) -> float | None:
        """The softmax probability of that class."""
        index, logits = self.class_index, self.explanation.logits
        return None if index is None or logits is None else float(logits[0].float().softmax(dim=0)[index])

    @property
    def warnings(self) -> list[str]:
        """What the map's reader has to know: an empty heat map, and why it is empty."""
        return [text.replace("the map of image 0", "the map") for text in self.explanation.provenance["warnings"]]


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be explained, and why in one line."""

    path: Path
    reason: str


@dataclass(frozen=True, eq=False)
class Workplace:
    """A loaded model with the explainer made for it, and why its layer was chosen if its family says so."""

    loaded: LoadedModel
    explainer: Explainer[Explanation]
    layer_choice: str | None = None


def prepare(
    loaded: LoadedModel,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Workplace:
    """A model and an explainer for it; without `layer` its default one, else the best there is.

    A method that looks at the input alone, or at many layers by default, is given no default layer.
    """
    entry = METHODS[method]  # an unknown name is refused before anything is computed
    wanted = layer or (loaded.default_layer if entry.looks_at_one_layer else None)
    explainer = Explainer(
        loaded.model, method=method, layers=wanted, seed=seed, progress=progress, options=dict(options or {})
    )
    return Workplace(loaded, explainer, _FAMILY_CHOICE if layer is None and wanted is not None else None)


def open_image(loaded: LoadedModel, path: Path) -> tuple[Pixels, Float[Tensor, "1 c h w"]]:
    """The picture as the model sees it, uint8 (h, w, 3), and the tensor that the model takes."""
    from camlens.data.decode import decode_image  # brings Pillow, which is optional

    return prepared(loaded, decode_image(path))


def prepared(loaded: LoadedModel, image: Pixels) -> tuple[Pixels, Float[Tensor, "1 c h w"]]:
    """An image (H, W, 3) as the model sees it, and as the model takes it."""
    return loaded.preprocess.display(image), loaded.preprocess(image)[None]


def explain_files(
    place: Workplace, paths: Sequence[Path], *, target: Target | int | None = None, top_k: int = 5
) -> Iterator[ExplainedImage | FailedImage]:
    """Explain files one after the other; what cannot be read or taken comes out as a FailedImage.

    Raises InputError at the end where a setting was refused and no image could be explained with it.
    """
    explained, refused = 0, list[InputError]()
    for path in paths:
        try:
            picture, inputs = open_image(place.loaded, path)
            yield explain_opened(place, picture, inputs, path=path, target=target, top_k=top_k)
            explained += 1
        except (DataError, InputError) as error:
            if isinstance(error, InputError) and not isinstance(error, MisfitError):
                refused.append(error)
            yield FailedImage(path, str(error))
    if refused and not explained:
        raise refused[0]


def explain_opened(
    place: Workplace,
    picture: Pixels,
    inputs: Float[Tensor, "1 c h w"],
    *,
    path: Path,
    target: Target | int | None = None,
    top_k: int = 5,
) -> ExplainedImage:
    """Explain one prepared image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)  # `ExplainedImage.warnings` has it, with the file's name
        explanation: Explanation = place.explainer(_placed(place, inputs), target=target)
    predictions = [] if explanation.logits is None else ranked(explanation.logits[0], place.loaded.class_names, top_k)
    return ExplainedImage(path, picture, explanation, predictions, place.loaded.class_names)


def ranked(logits: Float[Tensor, " classes"], class_names: Sequence[str], top_k: int) -> list[Prediction]:
    """The `top_k` most likely classes, best first, or all where there are fewer."""
    best = logits.float().softmax(dim=0).topk(min(top_k, len(logits)))
    return [
        {"class_idx": index, "class_name": class_name(index, class_names), "confidence": confidence}
        for confidence, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
    ]


def finite(value: float | None) -> float | None:
    """The number, or None where it is not one that JSON can hold."""
    return value if value is not None and math.isfinite(value) else None


def _placed(place: Workplace, inputs: Tensor) -> Tensor:
    first = next(place.loaded.model.parameters(), torch.empty(0))
    return inputs.to(device=first.device)
