"""Statistics of paired results: bootstrap intervals, the signed-rank test, and the correction for several tests."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

DRAWS = 9999
_RESAMPLES = 2000


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for the number of tests: the step-down procedure of Holm (1979).

    The i-th smallest of m p-values is multiplied by m - i + 1. A corrected value is at least those of all smaller ones,
    and at most 1. If the corrected values below 0.05 count as significant, the chance of any false one is at most 0.05.
    """
    corrected = np.ones(len(p_values))
    largest = 0.0
    for rank, place in enumerate(np.argsort(p_values, kind="stable")):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[place]))
        corrected[place] = largest
    values: list[float] = corrected.tolist()
    return values


def signed_rank(differences: Float[np.ndarray, " n"], seed: int) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test (1945): differences are symmetric around 0.

    Zeros are left out, and equal magnitudes share their mean rank. The signs are flipped at random DRAWS times, and
    p = (1 + number of sums of signed ranks at least as far from 0) / (1 + DRAWS); 1 if all differences are zero.
    """
    known = differences[differences != 0]
    if not len(known):
        return 1.0
    _, places, counts = np.unique(np.abs(known), return_inverse=True, return_counts=True)
    ranks = 2 * np.cumsum(counts) - counts + 1  # doubled, so that sums are exact and ties are found
    ranks = ranks[places]
    flips = np.random.default_rng(seed).integers(2, size=(DRAWS, len(known))) * 2 - 1
    observed = abs(int((np.sign(known).astype(np.int64) * ranks).sum()))
    return float((1 + (np.abs(flips @ ranks) >= observed).sum()) / (1 + DRAWS))


def bootstrap_means(values: Float[np.ndarray, "candidates n"], seed: int) -> Float[np.ndarray, "draws candidates"]:
    """Return the means of each row of values for resampled columns; the columns are the same for all rows."""
    drawn = np.random.default_rng(seed).integers(values.shape[1], size=(_RESAMPLES, values.shape[1]))
    return np.stack([values[:, columns].mean(axis=1) for columns in drawn])


def interval(draws: Float[np.ndarray, " draws"], level: float = 0.95) -> tuple[float, float]:
    """Return the percentile interval of bootstrapped values."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
