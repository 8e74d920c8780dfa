"""What can be explained: classes, contrasts, probabilities, similarities, masks, boxes."""

from camlens.core.targets import (
    AllClasses,
    Box,
    ClassScore,
    Contrast,
    Finer,
    InMask,
    PerImage,
    Predicted,
    Probability,
    Similarity,
    Target,
    TopK,
)

__all__ = [
    "AllClasses",
    "Box",
    "ClassScore",
    "Contrast",
    "Finer",
    "InMask",
    "PerImage",
    "Predicted",
    "Probability",
    "Similarity",
    "Target",
    "TopK",
]
