"""Targets: functions of a model's output that return differentiable scores.

`Target.settle` fixes all classes on the original images and returns a Scorer, which computes the same scores for
perturbed images.
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
from camlens.core.targets.scoring import Output, Rows, Scorer, Target, TargetLike

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
    "Rows",
    "Scorer",
    "Similarity",
    "Target",
    "TargetLike",
    "TopK",
    "as_target",
]
