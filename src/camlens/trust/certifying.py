"""Selection of maps of which a guaranteed share is faithful, from margins and test results, without a model."""

import math
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor

SHARES = (1.0, 0.8, 0.6, 0.4, 0.2)
"""Shares of the calibration maps that are tried as selections, by descending margin."""


@dataclass(frozen=True)
class Selection:
    """The number of calibration maps with a margin above `threshold`, and how many of them fail the test."""

    threshold: float
    selected: int
    failing: int


def certified(
    margins: Float[Tensor, " n"], faithful: Bool[Tensor, " n"], alpha: float, delta: float
) -> Selection | None:
    """Return the largest selection of which at most a share `alpha` fails, with confidence 1 - `delta`, or None.

    For each share of SHARES, the k maps with the highest margins are independent draws from all maps with a margin
    above the next one, so that their failures are a binomial count. The selection is certified if as few failures as
    observed had at most the probability `delta` / 5 (Bonferroni, for five shares) if a share `alpha` of all such maps
    failed. So with probability 1 - `delta`, at most `alpha` of future maps in the selection fail.
    """
    order = margins.argsort(descending=True, stable=True)
    sorted_margins, failures = margins[order], (~faithful[order]).long().cumsum(dim=0)
    for share in SHARES:
        count = int(share * len(margins))
        if count < 1:
            continue
        failing = int(failures[count - 1])
        if binomial_tail(failing, count, alpha) <= delta / len(SHARES):
            threshold = -math.inf if count == len(margins) else float(sorted_margins[count])
            return Selection(threshold, count, failing)
    return None


def least_images(alpha: float, delta: float) -> int:
    """Number of images below which nothing can be certified, even without a single failure."""
    return math.ceil(math.log(delta / len(SHARES)) / math.log1p(-alpha))


def binomial_tail(successes: int, count: int, chance: float) -> float:
    """Probability of at most `successes` among `count` draws."""
    return math.fsum(
        math.exp(
            math.lgamma(count + 1)
            - math.lgamma(k + 1)
            - math.lgamma(count - k + 1)
            + k * math.log(chance)
            + (count - k) * math.log1p(-chance)
        )
        for k in range(successes + 1)
    )
