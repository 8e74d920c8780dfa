"""What is explained: targets turn a model's output into scores that can be differentiated.

A target is settled once, on the clean images: then every class is known, and the same scores can be
asked of perturbed images. `settle` gives a Scorer that does so.
"""

from camlens.core.targets.classes import (
    AllClasses,
    ClassScore,
    Contrast,
    Finer,
    Predicted,
    Probability,
    TopK,
    as_target,
)
from camlens.core.targets.per_image import PerImage
from camlens.core.targets.regions import Box, InMask, Similarity
from camlens.core.targets.scoring import Output, Scorer, Target, TargetLike

__all__ = [
    "AllClasses",
    "Box",
    "ClassScore",
    "Contrast",
    "Finer",
    "InMask",
    "Output",
    "PerImage",
    "Predicted",
    "Probability",
    "Scorer",
    "Similarity",
    "Target",
    "TargetLike",
    "TopK",
    "as_target",
]
