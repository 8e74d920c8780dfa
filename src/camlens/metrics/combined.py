"""Harmonic means of several metrics."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.metrics.arguments import PerImage

Figures = Float[Tensor, " n"]


@register_metric(
    "adcc",
    paper="Poppi et al. 2021, Revisiting The Evaluation of Class Activation Mapping (ADCC), arXiv 2104.10252",
    needs="coherency, complexity, average_drop",
    good_for="ranking methods by coherency, simplicity and average drop together",
    better="higher",
)
def adcc(coherency: Figures, complexity: Figures, average_drop: Figures) -> PerImage:
    """Harmonic mean of coherency, 1 - complexity and 1 - average drop, each in [0, 1].

    3 / (1/coherency + 1/(1 - complexity) + 1/(1 - drop)); 0 if a part is 0, NaN if a part is NaN.
    """
    return harmonic_mean({"coherency": coherency, "complexity": 1 - complexity, "average_drop": 1 - average_drop})


@register_metric(
    "arcc",
    paper="ARCC 2026, arXiv 2605.14641",
    needs="coherency, complexity, road_combined",
    good_for="ADCC with ROAD instead of the average drop",
    better="higher",
)
def arcc(coherency: Figures, complexity: Figures, road_combined: Figures) -> PerImage:
    """Harmonic mean of coherency, 1 - complexity and twice `road_combined` clipped to [0, 1].

    `road_combined` must be computed from probabilities. 0 if a part is 0, NaN if a part is NaN.
    """
    faithful = (2 * road_combined).clamp(0, 1)
    return harmonic_mean({"coherency": coherency, "complexity": 1 - complexity, "road_combined": faithful})


def harmonic_mean(parts: dict[str, Tensor]) -> PerImage:
    """Harmonic mean of named parts in [0, 1] for each image; 0 if a part is 0."""
    for name, part in parts.items():
        known = part[~part.isnan()]
        if known.numel() and not (known.min() >= 0 and known.max() <= 1):
            raise InputError(f"{name} must be in [0, 1], not in percent", code="argument.invalid", name=name)
    stacked = torch.stack(list(parts.values())).double()
    return (len(parts) / stacked.reciprocal().sum(dim=0)).float()
