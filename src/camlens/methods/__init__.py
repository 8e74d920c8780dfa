"""The methods: pure functions from captured features and gradients, or from a probe of the model, to signed maps.

Importing this package fills `camlens.core.registry.METHODS`. Maps have the resolution of the layer, or of the input for
methods without a layer. They are rectified, normalized, resized and colored elsewhere. Optional libraries (extra
`attributions`) are imported when a method that needs them is called.
"""

from camlens.core.registry import METHODS, register_method
from camlens.methods import (
    activation,
    bias,
    combine,
    control,
    curvature,
    factorisation,
    gradient,
    occlusion,
    paths,
    perturbation,
    projection,
    rise,
    rules,
    saliency,
    superpixels,
)

__all__ = [
    "METHODS",
    "activation",
    "bias",
    "combine",
    "control",
    "curvature",
    "factorisation",
    "gradient",
    "occlusion",
    "paths",
    "perturbation",
    "projection",
    "register_method",
    "rise",
    "rules",
    "saliency",
    "superpixels",
]
