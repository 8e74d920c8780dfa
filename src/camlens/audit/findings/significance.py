"""Tests of differences."""

import math

import numpy as np
from jaxtyping import Float

from camlens.audit.findings.errors import wilson


def mcnemar(fixed: int, broken: int) -> float:
    """Return the two-sided p-value of McNemar's exact test (1947): as many images are fixed as broken."""
    total = fixed + broken
    logs = [
        math.lgamma(total + 1) - math.lgamma(hits + 1) - math.lgamma(total - hits + 1) - total * math.log(2)
        for hits in range(min(fixed, broken) + 1)
    ]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def mann_whitney(first: Float[np.ndarray, " a"], second: Float[np.ndarray, " b"]) -> float:
    """Return the two-sided p-value of the test of Mann and Whitney (1947): neither group tends to higher values.

    By the normal approximation, with the variance corrected for ties; 1 if a group is empty or all values are equal.
    """
    total = len(first) + len(second)
    _, places, counts = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]  # from 1; tied values share their mean
    product = len(first) * len(second)
    ties = (counts.astype(np.float64) ** 3 - counts).sum() / (total * (total - 1)) if total > 1 else 0.0
    variance = product / 12 * (total + 1 - ties)
    if not variance > 0:
        return 1.0
    higher = ranks[: len(first)].sum() - len(first) * (len(first) + 1) / 2
    return math.erfc(abs(higher - product / 2) / math.sqrt(2 * variance))


def paired_interval(both: int, fixed: int, broken: int, neither: int) -> tuple[float, float]:
    """Return the 95 % interval of the difference of two proportions of the same images, after minus before.

    The score interval for paired data of Newcombe (1998, Statistics in Medicine 17, method 10), which is valid for few
    images and near 0 and 1. (-1, 1) without images.
    """
    total = both + fixed + broken + neither
    if not total:
        return -1.0, 1.0
    after, before = (both + fixed) / total, (both + broken) / total
    (after_low, after_high), (before_low, before_high) = (wilson(both + hits, total) for hits in (fixed, broken))
    covariance = float(both * neither - fixed * broken)
    if covariance > 0:
        covariance = max(covariance - total / 2, 0.0)  # continuity correction
    margins = (both + fixed) * (broken + neither) * (both + broken) * (fixed + neither)
    correlation = covariance / math.sqrt(margins) if margins else 0.0

    def distance(own: float, other: float) -> float:
        return math.sqrt(max(own**2 - 2 * correlation * own * other + other**2, 0))

    difference = after - before
    low = difference - distance(after - after_low, before_high - before)
    high = difference + distance(after_high - after, before - before_low)
    return max(low, -1.0), min(high, 1.0)
