"""Whether a confidence of 80 % is right in 80 of 100 cases."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.findings.outcomes import Outcomes
from camlens.core.errors import InputError


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence beside accuracy in bins of equal width; a bin holds its upper edge. Empty bins are NaN.

    `ece` is the expected calibration error, the mean gap weighed by the number of images (Guo et al. 2017,
    arXiv 1706.04599), `mce` the largest gap; both are NaN where nothing was judged.
    """

    edges: Float[np.ndarray, " edges"]
    counts: Int[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    ece: float
    mce: float

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy, over all images: positive where the model promises too much."""
        if not self.counts.sum():
            return float("nan")
        filled = self.counts > 0
        gaps = (self.confidence - self.accuracy)[filled]
        return float((gaps * self.counts[filled]).sum() / self.counts.sum())

    def accuracy_at(self, confidence: float) -> tuple[float, int]:
        """How often answers as confident as this one are right, and how many there are."""
        place = int(_bins(np.array([confidence]), len(self.counts))[0])
        return float(self.accuracy[place]), int(self.counts[place])

    def to_dict(self) -> dict[str, Any]:
        """As plain values, None for what is not a number."""
        lists = {
            name: [float(value) if np.isfinite(value) else None for value in getattr(self, name)]
            for name in ("edges", "accuracy", "confidence")
        }
        errors = {name: value if np.isfinite(value) else None for name, value in (("ece", self.ece), ("mce", self.mce))}
        return {**lists, "counts": self.counts.tolist(), **errors}


def calibration(outcomes: Outcomes, *, bins: int = 10) -> Calibration:
    """Accuracy and mean confidence of the judged images in `bins` bins of confidence."""
    if bins < 1:
        raise InputError(
            f"bins={bins} hold nothing: give 1 or more, 10 is usual", code="argument.invalid", name="bins", value=bins
        )
    judged = outcomes.judged & np.isfinite(outcomes.confidence)
    confidence = outcomes.confidence[judged].astype(np.float64)
    places = _bins(confidence, bins)
    counts = np.bincount(places, minlength=bins)
    filled = counts > 0
    means = np.full((2, bins), np.nan)
    for row, values in enumerate((outcomes.correct[judged].astype(np.float64), confidence)):
        means[row, filled] = np.bincount(places, values, minlength=bins)[filled] / counts[filled]
    gaps = np.abs(means[0] - means[1])[filled]
    ece = float((gaps * counts[filled]).sum() / counts.sum()) if filled.any() else float("nan")
    return Calibration(
        np.linspace(0, 1, bins + 1),
        counts,
        means[0],
        means[1],
        ece,
        float(gaps.max(initial=0)) if filled.any() else ece,
    )


def _bins(confidence: Float[np.ndarray, " n"], bins: int) -> Int[np.ndarray, " n"]:
    """The bin of each confidence, its upper edge included; 0 lies in the first."""
    places: Int[np.ndarray, " n"] = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return places
