"""The methods: pure functions from what was captured to signed maps at the layer's own resolution.

Importing this package fills `camlens.core.registry.METHODS`. Rectifying, normalising, resizing to the image
and colouring happen once, at the edge, never in here.
"""

from camlens.core.registry import METHODS
from camlens.methods import (
    activation,
    bias,
    combine,
    control,
    curvature,
    gradient,
    perturbation,
    pixels,
    projection,
)

__all__ = [
    "METHODS",
    "activation",
    "bias",
    "combine",
    "control",
    "curvature",
    "gradient",
    "perturbation",
    "pixels",
    "projection",
]
