"""Calibration: confidence compared with accuracy."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.findings.outcomes import Outcomes


@dataclass(frozen=True, eq=False)
class Calibration:
    """Mean confidence and accuracy in bins of equal width.

    Attributes:
        edges: edges of the bins; a bin includes its upper edge.
        counts: images per bin.
        accuracy, confidence: means per bin; NaN if a bin is empty.
        ece, mce: expected and maximum calibration error, the mean gap weighted by counts and the largest gap (Guo et
            al. 2017, arXiv 1706.04599); NaN without labeled predictions.
    """

    edges: Float[np.ndarray, " edges"]
    counts: Int[np.ndarray, " bins"]
    accuracy: Float[np.ndarray, " bins"]
    confidence: Float[np.ndarray, " bins"]
    ece: float
    mce: float

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy over all images; NaN without labeled predictions."""
        if not self.counts.sum():
            return float("nan")
        filled = self.counts > 0
        gaps = (self.confidence - self.accuracy)[filled]
        return float((gaps * self.counts[filled]).sum() / self.counts.sum())

    def accuracy_at(self, confidence: float) -> tuple[float, int]:
        """Return the accuracy of the bin that contains this confidence, and its number of images."""
        place = int(_bins(np.array([confidence]), len(self.counts))[0])
        return float(self.accuracy[place]), int(self.counts[place])


def calibration(outcomes: Outcomes, *, bins: int = 10) -> Calibration:
    """Return accuracy and mean confidence of the labeled predictions in `bins` bins of confidence."""
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
    """Return the bin of each confidence. Upper edges belong to the bin below, and 0 to the first."""
    places: Int[np.ndarray, " n"] = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    return places
