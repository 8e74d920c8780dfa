"""Facts about maps that need no test: empty maps, where the heat is, and how coarse the layer is."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.heatmaps import empty_maps, rectified
from camlens.core.types import TargetMaps
from camlens.explanation import Explanation

SAME_MAP = 0.99
"""Correlation from which two maps cannot be told apart."""
_ROUNDING = 1000  # rounding errors of the score, which is a sum of about as many terms
_BORDER, _CORNER = 0.1, 0.2  # share of each axis
# least share of the heat in a place, and how many times hotter its cells must be than others, on average
_BORDER_LIMITS, _CORNER_LIMITS = (0.5, 2.0), (0.1, 4.0)
_CORNERS = ("the top left corner", "the top right corner", "the bottom left corner", "the bottom right corner")


@dataclass(frozen=True)
class Fact:
    """One fact about a map.

    Attributes:
        code: a stable identifier: "map.not-finite", "map.constant", "map.negative", "map.rounding",
            "class.same-map", "energy.border", "energy.corner", "layer.coarse" or "layer.single-cell".
        value: the number behind it, which `text` explains.
        text: a sentence.
    """

    code: str
    value: float
    text: str


def facts_of(explanation: Explanation, layer: str, image: int, target: int, patches: int) -> list[Fact]:
    """Facts that follow from the map alone."""
    maps = explanation.maps[layer][image : image + 1, target : target + 1]
    signed = explanation.shows_both_signs(target)
    empty = empty_maps(maps, layer, [explanation.targets[target]], [signed])
    grid = tuple(maps.shape[2:])
    facts = []
    if empty:
        highest = float(maps.max())
        facts.append(Fact(empty[0].code, highest, _EMPTY[empty[0].code].format(highest)))
    else:
        cells = (maps.abs() if signed else rectified(maps))[0, 0].double().cpu()
        eps = torch.finfo(getattr(torch, explanation.provenance["dtype"])).eps
        facts += (
            _rounding(maps, float(explanation.scores[image, target]), eps)
            + _where(cells)
            + _single_cell(cells, explanation.input_size)
        )
    if min(grid) < patches:
        shape = " x ".join(map(str, grid))
        text = f"The grid of the layer, {shape}, is coarser than the {patches} patches per axis of the test."
        facts.append(Fact("layer.coarse", float(min(grid)), text))
    return facts


_EMPTY = {
    "map.not-finite": "The map holds NaN or infinite values, so its heat map is empty.",
    "map.constant": "The map is constant ({:.3g} everywhere), so its heat map is empty.",
    "map.negative": "All evidence is negative (highest value {:.3g}), so the heat map is empty.",
}


def same_map(correlation: float, label: str) -> list[Fact]:
    """The fact that the map for the runner-up class looks the same, if it does."""
    if not correlation >= SAME_MAP:
        return []
    text = (
        f"The map for the next class, {label}, is the same (correlation {correlation:.3f}): it is not about the class."
    )
    return [Fact("class.same-map", correlation, text)]


def _rounding(maps: TargetMaps, score: float, eps: float) -> list[Fact]:
    """The fact that a map has about the size of the rounding errors of its score."""
    size = float(maps.abs().max()) * maps.numel()
    if not 0 < size < _ROUNDING * eps * abs(score):
        return []
    text = f"The map is rounding noise: all of its evidence is at most {size / abs(score):.1g} times the score."
    return [Fact("map.rounding", size / abs(score), text)]


def _where(cells: Float[Tensor, "*grid"]) -> list[Fact]:
    """Whether much of the heat is in one corner, or most of it in the border."""
    energy = cells / cells.sum()
    if min(cells.shape) < 3:
        return []
    corners = _corners(energy.shape)
    index, share = max(enumerate(float(energy[corner].sum()) for corner in corners), key=lambda pair: pair[1])
    border = torch.ones_like(energy, dtype=torch.bool)
    border[tuple(slice(rim, -rim) for rim in _rims(energy.shape, _BORDER))] = False
    corner = _CORNERS[index] if cells.ndim == 2 else "one corner"
    facts = _concentrated(
        "energy.corner", corner, share, energy[corners[index]].numel() / energy.numel(), _CORNER_LIMITS
    )
    edge, uniform = float(energy[border].sum()), float(border.double().mean())
    return facts + _concentrated("energy.border", "the border", edge, uniform, _BORDER_LIMITS)


def _concentrated(code: str, place: str, share: float, uniform: float, limits: tuple[float, float]) -> list[Fact]:
    """The fact that a place has at least a share of the heat, and cells several times hotter than elsewhere."""
    least, times = limits
    if share < least or share * (1 - uniform) < times * uniform * (1 - share):
        return []
    return [Fact(code, share, f"{share:.0%} of the heat is in {place}, which is {uniform:.0%} of the map.")]


def _single_cell(cells: Float[Tensor, "*grid"], size: tuple[int, ...]) -> list[Fact]:
    """Whether a single cell of the layer is above half of the maximum: its outline is that of the interpolation."""
    hot = int((cells >= cells.max() / 2).sum())
    if hot > 1 or tuple(cells.shape) == size:
        return []
    pixels = " x ".join(f"{length / side:.0f}" for length, side in zip(size, cells.shape, strict=True))
    text = f"The heat is a single cell of the layer, {pixels} pixels large: its outline is not evidence."
    return [Fact("layer.single-cell", 1.0, text)]


def _rims(grid: torch.Size, width: float) -> list[int]:
    return [max(1, round(width * side)) for side in grid]


def _corners(grid: torch.Size) -> list[tuple[slice, ...]]:
    """The cells of each corner."""
    corners: list[tuple[slice, ...]] = [()]
    for side, rim in zip(grid, _rims(grid, _CORNER), strict=True):
        corners = [(*corner, end) for corner in corners for end in (slice(0, rim), slice(side - rim, side))]
    return corners
