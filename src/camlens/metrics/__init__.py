"""The metrics: pure functions that say, image by image, how far a map can be trusted.

Importing this package fills `camlens.core.registry.METRICS`; an entry's `needs` names the arguments in order.
Every result is float32 (n,), on the CPU, one number per image and NaN where the figure is undefined, never an
average: who reports a mean says how many images it is of. `direction(name)` says which way is better.
"""

from typing import Literal

from camlens.core.registry import METRICS
from camlens.metrics import (
    boxes,
    combined,
    complexity,
    faithfulness,
    localisation,
    sanity,
    similarity,
    stability,
)

__all__ = [
    "METRICS",
    "boxes",
    "combined",
    "complexity",
    "direction",
    "faithfulness",
    "localisation",
    "sanity",
    "similarity",
    "stability",
]

Direction = Literal["higher", "lower", "neither"]


def direction(name: str) -> Direction:
    """Which values of a metric are better: "higher", "lower", or "neither" where it only describes.

    Read from what its entry says it is good for.
    """
    ending = METRICS[name].good_for.rpartition("; ")[2]
    if ending.startswith("higher is better"):
        return "higher"
    return "lower" if ending.startswith(("lower is better", "lower is simpler")) else "neither"
