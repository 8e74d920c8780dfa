"""Explain image files one by one; a file that cannot be read does not stop the others."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.core.engine import Gradients
from camlens.core.errors import DataError, EvidenceWarning, InputError, MisfitError
from camlens.core.layers import layer_in_words
from camlens.core.probabilities import best_outputs, class_name
from camlens.core.probe import Progress, silent
from camlens.core.targets import Target
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.gradcam import Prediction
from camlens.models import LoadedModel
from camlens.models.geometry import View
from camlens.render.theme import Look
from camlens.trust.calibrating import Calibration, Verdict
from camlens.trust.checking import Check

if TYPE_CHECKING:
    from PIL.Image import Image

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ExplainedImage:
    """An image file with its explanation and its most likely classes."""

    path: Path
    explanation: Explanation
    predictions: list[Prediction]
    loaded: LoadedModel
    class_names: Sequence[str]
    check: Check | None = None
    verdict: Verdict | None = None

    @property
    def view(self) -> View:
        """The picture and the part of it that the model saw."""
        return self.explanation.views[0]

    @property
    def heat(self) -> NDArray[np.float32]:
        """The map at the layer's resolution, in [0, 1], or in [-1, 1] if it shows both signs."""
        grid = self.explanation.maps[self.explanation.layers[-1]].shape[2:]
        signed = self.explanation.shows_both_signs()
        maps = self.explanation.signedmaps(size=grid) if signed else self.explanation.heatmaps(size=grid)
        return maps[0, 0].nan_to_num(0).cpu().numpy()

    @property
    def target(self) -> str:
        """The label of the explained target."""
        return self.explanation.label(0, 0, self.class_names)

    @property
    def class_index(self) -> int | None:
        """The explained class, or None if the target is not a class."""
        classes = self.explanation.classes
        return None if classes is None else int(classes[0, 0])

    @property
    def confidence(self) -> float | None:
        """The probability of the explained class; for a regression, the output itself."""
        index, logits = self.class_index, self.explanation.logits
        return None if index is None or logits is None else float(self.loaded.probabilities(logits[0])[index])

    @property
    def warnings(self) -> list[str]:
        """Warnings about the map, such as that it is constant."""
        return map_warnings(self.explanation)

    def panel(self, look: Look, *, title: str | None = None, true_class: int | None = None) -> "Image":
        """Draw the image, the heat map with its color bar, the overlay, and the most likely classes."""
        from camlens.render.figure import panel  # needs matplotlib, which is optional

        picture, region = self.view.shown(crop=look.crop)
        signed = self.explanation.shows_both_signs()
        return panel(
            picture,
            self.heat,
            title=self.path.name if title is None else title,
            subtitle=f"{self.target}  ·  {self.explanation.method} at {layer_in_words(self.explanation.layers[-1])}",
            predictions=self.predictions,
            true_class=true_class,
            target=self.class_index,
            task=self.explanation.task,
            notes=[text[0].upper() + text[1:] for text in self.warnings],
            region=region,
            look=look.for_evidence() if signed else look,
        )


@dataclass(frozen=True)
class FailedImage:
    """An image that could not be processed, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, eq=False)
class Workplace:
    """A loaded model and its explainer, whether each map is checked, and the calibration for verdicts."""

    loaded: LoadedModel
    explainer: Explainer[Explanation]
    checks: bool = False
    calibration: Calibration | None = None


def prepare(
    loaded: LoadedModel,
    *,
    method: str = "gradcam",
    layer: str | None = None,
    gradients: Gradients = "plain",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: Progress = silent,
    checks: bool = False,
    calibration: Calibration | None = None,
) -> Workplace:
    """Build the explainer of a model. `layer` defaults to the best layer of the model."""
    explainer = Explainer(
        loaded,
        method=method,
        layers=layer,
        gradients=gradients,
        seed=seed,
        progress=progress,
        options=dict(options or {}),
    )
    return Workplace(loaded, explainer, checks, calibration)


def explain_files(
    place: Workplace, paths: Sequence[Path], *, target: Target | int | None = None, top_k: int = 5
) -> Iterator[ExplainedImage | FailedImage]:
    """Yield the explanation of each file, or a FailedImage if it cannot be read or explained.

    Raises InputError at the end if an option was refused and no image could be explained with it.
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
    """Explain one picture; `path` is its name in results."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", EvidenceWarning)  # reported by `ExplainedImage.warnings`, with the file's name
        explanation = place.explainer(picture, target=target)
    loaded, logits = place.loaded, explanation.logits
    check = explanation.check(loaded, seed=explanation.provenance["seed"]) if place.checks else None
    verdict = None if place.calibration is None else place.calibration.verdicts(explanation)[0][0]
    if logits is None:
        return ExplainedImage(path, explanation, [], loaded, loaded.class_names, check, verdict)
    names = loaded.names(logits.shape[1])
    return ExplainedImage(path, explanation, most_likely(loaded, logits[0], top_k), loaded, names, check, verdict)


def most_likely(loaded: LoadedModel, logits: Float[Tensor, " classes"], top_k: int) -> list[Prediction]:
    """Return the `top_k` most likely classes, best first, or the first outputs of a regression."""
    names = loaded.names(len(logits))
    return [
        {"class_idx": index, "class_name": class_name(index, names), "confidence": confidence}
        for index, confidence in best_outputs(logits, top_k, loaded.activation, loaded.task)
    ]


def map_warnings(explanation: Explanation) -> list[str]:
    """Return the warnings about the maps of the only image."""
    return [text.replace("the map of image 0", "the map") for text in explanation.provenance["warnings"]]
