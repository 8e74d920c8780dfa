"""Targets to explain: classes, contrasts, probabilities, similarities, masks and boxes."""

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
