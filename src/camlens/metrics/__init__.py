"""The metrics: pure functions that measure how far each map can be trusted.

Importing this package fills `camlens.core.registry.METRICS`; an entry's `needs` names the arguments in order.
Every result is float32 (n,) on the CPU: one number per image, NaN if the metric is undefined for it. Nothing is
averaged over images. An entry's `better` tells whether higher or lower values are better.
"""

import importlib
import pkgutil

from camlens.core.registry import METRICS, Better

__all__ = ["METRICS", "direction"]

for _module in pkgutil.walk_packages(__path__, f"{__name__}."):
    importlib.import_module(_module.name)


def direction(name: str) -> Better:
    """Return whether "higher" or "lower" values of a metric are better, or "neither"."""
    return METRICS[name].better
