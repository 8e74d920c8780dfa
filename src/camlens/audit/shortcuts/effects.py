"""Differences of paired proportions, with intervals and p-values."""

import math

import numpy as np
from jaxtyping import Bool
from scipy.optimize import brentq
from scipy.stats import norm

from camlens.audit.findings.shortcuts import Effect

_Z = float(norm.ppf(0.975))


def paired_effect(hits: Bool[np.ndarray, " n"], controls: Bool[np.ndarray, " n"], *, margin: float) -> Effect:
    """Return how much more often `hits` is true than `controls`, on the same n images.

    The interval and the p-value of "the difference is at most `margin`" are those of the score test for paired
    proportions (Tango 1998), which holds for small n and for rates of 0 and 1.
    """
    first, second = int((hits & ~controls).sum()), int((controls & ~hits).sum())
    count = len(hits)
    value = (first - second) / count

    def score(difference: float) -> float:
        return _score(first, second, count, difference)

    low = -1.0 if score(-1 + 1e-9) < _Z else brentq(lambda delta: score(delta) - _Z, -1 + 1e-9, 1 - 1e-9)
    high = 1.0 if score(1 - 1e-9) > -_Z else brentq(lambda delta: score(delta) + _Z, -1 + 1e-9, 1 - 1e-9)
    return Effect(value, float(low), float(high), float(norm.sf(score(margin))), count)


def _score(first: int, second: int, count: int, difference: float) -> float:
    """Return Tango's statistic: `first` and `second` pairs of `count` differ, in favor of either member."""
    a = 2 * count
    b = -first - second + (2 * count - first + second) * difference
    c = -second * difference * (1 - difference)
    other = max((math.sqrt(max(b * b - 4 * a * c, 0)) - b) / (2 * a), 0)
    variance = count * (2 * other + difference * (1 - difference))
    excess = first - second - count * difference
    return excess / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, excess) if excess else 0.0
