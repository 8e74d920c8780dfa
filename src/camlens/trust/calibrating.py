"""`calibrate`: a threshold above which maps are faithful with a guarantee, from a user's own images."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.arguments import checked_count, suggesting
from camlens.core.errors import InputError, StoreError, invalid_argument
from camlens.core.heatmaps import empty_maps
from camlens.core.store import atomic_file
from camlens.core.types import Layer, Picture, Pictures
from camlens.explainer import Explainer
from camlens.explanation import Explanation
from camlens.models.loading import LoadedModel
from camlens.pictures import prepared
from camlens.trust.again import quietly
from camlens.trust.certifying import certified, least_images
from camlens.trust.experiment import experiment

_AT_ONCE = 16
_VERSION = 1
LEVEL = 0.05
"""A map is faithful if both p-values of its test are at most this."""


@dataclass(frozen=True)
class Verdict:
    """A verdict about one map, without a test of its own.

    Attributes:
        code: "faithful", or "no-verdict" if the margin is too low, the map is empty, or another class than the
            predicted one was explained.
        margin: the score of the explained class minus that of the next one.
        shifted: whether the margin is outside the range of the calibration images. The guarantee holds for images like
            those.
        text: a sentence.
    """

    code: Literal["faithful", "no-verdict"]
    margin: float
    shifted: bool
    text: str


@dataclass(frozen=True)
class Calibration:
    """A threshold of the margin above which maps are called faithful.

    With probability 1 - `delta` over the calibration images, at most a share `alpha` of the maps called faithful would
    fail the test of `Explanation.check`, for images from the same source. It holds for the model, the method and the
    layer of the calibration only.

    Attributes:
        threshold: maps with a margin above it are called faithful; infinity if no share of the maps could be certified.
        alpha, delta: the guarantee.
        images: number of calibration images with a map.
        selected, failing: number of calibration maps above the threshold, and how many of them failed the test.
        faithful: number of all calibration maps that passed the test.
        lowest, highest: the range of the margins.
        method, options, layer, weights, input_size, patches: what was calibrated; `weights` is a hash.
    """

    threshold: float
    alpha: float
    delta: float
    images: int
    selected: int
    failing: int
    faithful: int
    lowest: float
    highest: float
    method: str
    options: Mapping[str, Any]
    layer: str
    weights: str
    input_size: tuple[int, ...]
    patches: int

    def verdicts(self, explanation: Explanation) -> list[list[Verdict]]:
        """Return a verdict for each image and target of an explanation.

        Raises InputError ("calibration.other") if the model, the method, its options, the layer or the size of the
        inputs differ from those of the calibration.
        """
        for name, wanted in _subject(explanation).items():
            if getattr(self, name) != wanted:
                raise InputError(
                    f"the calibration is for another {name.replace('_', ' ')}, {getattr(self, name)!r}, not {wanted!r}:"
                    " calibrate again",
                    code="calibration.other",
                    name=name,
                    expected=getattr(self, name),
                    given=wanted,
                )
        margins, empty = margins_of(explanation), _empty(explanation)
        return [
            [self._verdict(float(margins[image, target]), empty[image][target]) for target in range(margins.shape[1])]
            for image in range(margins.shape[0])
        ]

    def _verdict(self, margin: float, empty: bool) -> Verdict:
        shifted = not self.lowest <= margin <= self.highest
        reason = self._objection(margin, empty)
        if reason:
            return Verdict("no-verdict", margin, shifted, f"No verdict: {reason}.")
        text = f"Faithful (calibrated: at most {self.alpha:.0%} of such maps are not)."
        if shifted:
            text += " The image is unlike the calibration images, so that this may not hold."
        return Verdict("faithful", margin, shifted, text)

    def _objection(self, margin: float, empty: bool) -> str:
        """Return why a map gets no verdict, or ""."""
        if empty:
            return "the heat map is empty"
        if margin < 0:
            return "another class than the predicted one is explained"
        if self.threshold == math.inf:
            return "no maps of this model and method could be certified"
        return "" if margin > self.threshold else f"the margin of the class, {margin:.3g}, is too low"

    def text(self) -> str:
        """Return the guarantee in a sentence."""
        if math.isinf(self.threshold) and self.threshold > 0:
            return (
                f"No map gets a verdict: {self.faithful} of {self.images} maps passed the test, and no selection by"
                f" margin fails at most {self.alpha:.0%} of the time with confidence {1 - self.delta:.0%}."
            )
        return (
            f"{self.selected} of {self.images} maps get the verdict faithful. With confidence {1 - self.delta:.0%}, at"
            f" most {self.alpha:.0%} of such maps fail the test; {self.failing} of these {self.selected} did."
        )

    def save(self, path: str | Path, *, force: bool = False) -> Path:
        """Write the calibration as JSON. Raises StoreError if `path` exists and `force` is False."""
        with atomic_file(Path(path), force=force) as unfinished:
            unfinished.write_text(json.dumps(self.to_dict(), indent=1, allow_nan=False), encoding="utf-8")
        return Path(path)

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as JSON values; `threshold` is "all" or "none" if it is infinite."""
        threshold = self.threshold if math.isfinite(self.threshold) else "all" if self.threshold < 0 else "none"
        return {"calibration": _VERSION, **asdict(self), "threshold": threshold}

    @classmethod
    def load(cls, path: str | Path) -> "Calibration":
        """Read a calibration that `save` has written. Raises StoreError if the file is missing or is not one."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
            if content.pop("calibration") != _VERSION:
                raise ValueError("another version")
            thresholds = {"all": -math.inf, "none": math.inf}
            content["threshold"] = float(thresholds.get(content["threshold"], content["threshold"]))
            return cls(**{**content, "input_size": tuple(content["input_size"])})
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise StoreError(
                f"{path} cannot be read as a calibration ({error}): write one with camlens calibrate",
                code="calibration.unreadable",
                path=str(path),
            ) from error


@suggesting
def calibrate(
    model: nn.Module | LoadedModel,
    images: Tensor | Pictures | Iterable[Picture],
    *,
    method: str = "gradcam",
    layers: Layer | None = None,
    options: Mapping[str, Any] | None = None,
    alpha: float = 0.1,
    delta: float = 0.1,
    patches: int = 4,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Calibration:
    """Find the margin above which maps of the predicted class are faithful, from images of your own.

    Every image is explained, and its map is tested as `Explanation.check` does, which is expensive. The margin, the
    score of the class minus that of the next one, is free. The largest selection of maps by margin is certified, of
    which at most a share `alpha` fails the test, by an exact binomial test for each of five sizes. This is selective
    conformal risk control with a guarantee over calibration sets (Xu, Guo and Wei 2025, arXiv 2512.12844).

    Args:
        model: a classifier.
        images: a tensor (n, c, *spatial), or with a LoadedModel pictures, which may be an iterator. They must be a
            random sample of the images on which verdicts are wanted.
        method, layers, options: as for `explain`; one method and one layer.
        alpha: largest share of failing maps among those called faithful, between 0 and 1.
        delta: probability, over the choice of calibration images, that the guarantee does not hold, between 0 and 1.
        patches: as for `Explanation.check`.
        seed: seed of the method and of the permutations.
        progress: called with the number of images done.

    Raises InputError ("calibration.too-few") if so few images cannot certify anything: 38 are needed by default.
    """
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not isinstance(value, float) or not 0 < value < 1:
            raise invalid_argument(name, value, "a number above 0 and below 1")
    checked_count("seed", seed, least=0)
    explainer = Explainer(model, method=method, layers=layers, options=options, seed=seed)
    margins, passed, subject, done = [], [], dict[str, Any](), 0
    for inputs in _batches(model, images):
        explanation = quietly(explainer, inputs, None)
        layer = explanation.layers[-1]
        test = experiment(explanation, model, inputs, patches=patches, permutations=999, seed=seed, layer=layer)
        known = torch.tensor(_empty(explanation))[:, 0].logical_not()
        margins.append(margins_of(explanation)[:, 0][known])
        passed.append(((test.p_value <= LEVEL) & (test.symmetry_p_value <= LEVEL))[:, 0][known])
        subject, done = _subject(explanation), done + len(inputs)
        if progress is not None:
            progress(done)
    counted = sum(map(len, margins))
    if counted < least_images(alpha, delta):
        raise InputError(
            f"{counted} images with a map are too few: at least {least_images(alpha, delta)} are needed to call maps"
            f" faithful with at most {alpha:.0%} of errors and a confidence of {1 - delta:.0%}",
            code="calibration.too-few",
            images=counted,
            needed=least_images(alpha, delta),
        )
    scores, faithful = torch.cat(margins).double(), torch.cat(passed)
    selection = certified(scores, faithful, alpha, delta)
    return Calibration(
        threshold=math.inf if selection is None else selection.threshold,
        alpha=alpha,
        delta=delta,
        images=counted,
        selected=0 if selection is None else selection.selected,
        failing=0 if selection is None else selection.failing,
        faithful=int(faithful.sum()),
        lowest=float(scores.min()),
        highest=float(scores.max()),
        patches=patches,
        **subject,
    )


def margins_of(explanation: Explanation) -> Float[Tensor, "n t"]:
    """The logit of each explained class minus the highest other logit; negative unless the class is predicted."""
    if explanation.logits is None or explanation.classes is None or explanation.logits.shape[1] < 2:
        raise InputError(
            "a verdict needs a classifier with two classes or more, and a class as its target",
            code="calibration.no-classes",
        )
    logits, classes = explanation.logits.cpu().double(), explanation.classes.cpu()
    others = torch.stack([logits.scatter(1, column[:, None], -torch.inf).amax(dim=1) for column in classes.T], dim=1)
    return logits.gather(1, classes) - others


def _empty(explanation: Explanation) -> list[list[bool]]:
    """Whether each heat map is empty."""
    images, targets = explanation.scores.shape
    layer = explanation.layers[-1]
    empty = {
        (entry.image, entry.target)
        for entry in empty_maps(explanation.maps[layer], layer, explanation.targets, explanation.diverging)
    }
    return [[(image, target) in empty for target in range(targets)] for image in range(images)]


def _subject(explanation: Explanation) -> dict[str, Any]:
    """What a calibration is for."""
    return {
        "method": explanation.method,
        "options": dict(explanation.provenance["options"]),
        "layer": explanation.layers[-1],
        "weights": explanation.provenance["weights"],
        "input_size": explanation.input_size,
    }


def _batches(model: nn.Module | LoadedModel, images: Tensor | Pictures | Iterable[Picture]) -> Iterator[Tensor]:
    """Yield preprocessed batches."""
    if isinstance(images, Tensor):
        yield from images.split(_AT_ONCE)
        return
    if not isinstance(model, LoadedModel):
        raise InputError("images must be a tensor unless the model is a LoadedModel", code="input.not-a-tensor")
    pictures = iter(images if isinstance(images, Iterable) and not isinstance(images, str) else [images])
    while batch := list(islice(pictures, _AT_ONCE)):
        yield prepared(model, batch)[0]
