"""Measures of a batch of maps: concentration, centre and peak."""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.metrics.complexity import border_energy, corner_energy, entropy, spread

PerImage = Float[Tensor, " n"]


def map_measures(maps: Float[Tensor, "n h w"], inside: Float[Tensor, "n h w"] | None = None) -> dict[str, PerImage]:
    """Return measures of signed maps by column name; NaN if a map has no positive evidence or is not finite.

    `entropy`, `border_energy`, `corner_energy` and `spread` are those of `camlens.metrics`. The centre is the center
    of mass of the positive evidence, the peak is the center of its first maximal cell; both are (y, x) in [0, 1] of
    the model's input. `inside` is the share of each cell that lies on the object, NaN if unknown; `inside_energy` is
    the share of the positive evidence on the object.
    """
    maps = maps.double()
    energy = maps.clamp_min(0).flatten(1)
    share = energy / energy.sum(dim=1, keepdim=True)
    defined = maps.flatten(1).isfinite().all(dim=1) & (energy.sum(dim=1) > 0)
    y, x = (centre.flatten() for centre in _centres(maps.shape[1], maps.shape[2]))
    best = energy.nan_to_num(0).argmax(dim=1)
    measures = {
        "entropy": entropy(maps),
        "border_energy": border_energy(maps),
        "corner_energy": corner_energy(maps),
        "centre_y": share @ y,
        "centre_x": share @ x,
        "spread": spread(maps),
        "peak_y": y[best],
        "peak_x": x[best],
        "inside_energy": (share * (torch.nan if inside is None else inside.double().flatten(1))).sum(dim=1),
    }
    return {name: values.float().where(defined, torch.nan) for name, values in measures.items()}


def _centres(height: int, width: int) -> tuple[Tensor, ...]:
    """Return the center (y, x) of every cell."""
    sides = [(torch.arange(side, dtype=torch.float64) + 0.5) / side for side in (height, width)]
    return torch.meshgrid(*sides, indexing="ij")
