"""Images explained one by one: a file that cannot be read costs itself, and the others still get done."""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.errors import DataError, EvidenceWarning, InputError, MisfitError
from camlens.core.probabilities import best_outputs
from camlens.core.probe import Progress, silent
from camlens.core.targets import Target
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.gradcam import Prediction
from camlens.models import LoadedModel
from camlens.models.geometry import View
from camlens.panels.naming import class_name

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """One image with its explanation, which remembers the picture, and the best classes."""

    path: Path
    explanation: Explanation
    predictions: list[Prediction]
    loaded: LoadedModel
    class_names: Sequence[str]

    @property
    def view(self) -> View:
        """The picture and what the model saw of it."""
        return self.explanation.views[0]

    @property
    def heat(self) -> NDArray[np.float32]:
        """The map of the only target at the layer's own resolution: in [0, 1], or in [-1, 1] if it shows both signs."""
        grid = self.explanation.maps[self.explanation.layers[-1]].shape[2:]
        signed = self.explanation.shows_both_signs()
        maps = self.explanation.signedmaps(size=grid) if signed else self.explanation.heatmaps(size=grid)
        return maps[0, 0].nan_to_num(0).cpu().numpy()

    @property
    def target(self) -> str:
        """What is explained, in words."""
        return self.explanation.label(0, 0, self.class_names)

    @property
    def class_index(self) -> int | None:
        """The class that the score is about, where it is about one."""
        classes = self.explanation.classes
        return None if classes is None else int(classes[0, 0])

    @property
    def confidence(self) -> float | None:
        """The probability of that class; for a regression, the output itself."""
        index, logits = self.class_index, self.explanation.logits
        return None if index is None or logits is None else float(self.loaded.probabilities(logits[0])[index])

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
    """A loaded model with the explainer made for it."""

    loaded: LoadedModel
    explainer: Explainer[Explanation]


def prepare(
    loaded: LoadedModel,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> Workplace:
    """A model and an explainer for it; without `layer` the model's default one, else the best there is."""
    explainer = Explainer(
        loaded, method=method, layers=layer, seed=seed, progress=progress, options=dict(options or {})
    )
    return Workplace(loaded, explainer)


def explain_files(
    place: Workplace, paths: Sequence[Path], *, target: Target | int | None = None, top_k: int = 5
) -> Iterator[ExplainedImage | FailedImage]:
    """Explain files one after the other; what cannot be read or taken comes out as a FailedImage.

    Raises InputError at the end where a setting was refused and no image could be explained with it.
    """
    explained, refused = 0, list[InputError]()
    for path in paths:
        try:
            yield explain_picture(place, path, path=path, target=target, top_k=top_k)
            explained += 1
        except (DataError, InputError) as error:
            if isinstance(error, InputError) and not isinstance(error, MisfitError):
                refused.append(error)
            yield FailedImage(path, str(error))
    if refused and not explained:
        raise refused[0]


def explain_picture(
    place: Workplace,
    picture: Path | Pixels,
    *,
    path: Path,
    target: Target | int | None = None,
    top_k: int = 5,
) -> ExplainedImage:
    """Explain one picture; `path` is what it is called."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)  # `ExplainedImage.warnings` has it, with the file's name
        explanation = place.explainer(picture, target=target)
    loaded, logits = place.loaded, explanation.logits
    if logits is None:
        return ExplainedImage(path, explanation, [], loaded, loaded.class_names)
    names = loaded.names(logits.shape[1])
    return ExplainedImage(path, explanation, ranked(loaded, logits[0], top_k), loaded, names)


def ranked(loaded: LoadedModel, logits: Float[Tensor, " classes"], top_k: int) -> list[Prediction]:
    """The `top_k` most likely classes, best first, or a regression's first outputs; all if there are fewer."""
    class_names = loaded.names(len(logits))
    return [
        {"class_idx": index, "class_name": class_name(index, class_names), "confidence": confidence}
        for index, confidence in best_outputs(logits, top_k, loaded.activation, loaded.task)
    ]


def finite(value: float | None) -> float | None:
    """The number, or None where it is not one that JSON can hold."""
    return value if value is not None and math.isfinite(value) else None
