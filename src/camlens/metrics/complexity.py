"""Complexity and location of the heat, from the map alone.

Maps are (n, *size), results (n,). Metrics without a meaning for negative values use absolute values. Maps that are zero
everywhere or not finite give NaN.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.registry import register_metric
from camlens.metrics.arguments import UNDEFINED, Maps, PerImage, cells_of, per_image, unit_range, within


@register_metric(
    "sparseness",
    paper="Chalasani et al. 2020, Concise Explanations of Neural Networks, arXiv 1810.06583",
    needs="maps",
    good_for="concentration of the map on few cells (Gini index): 0 uniform, close to 1 concentrated",
)
def sparseness(maps: Maps) -> PerImage:
    """Gini index of the map's absolute values: 2 sum(i a_i) / (n sum(a)) - (n + 1) / n, a ascending.

    From 0 for a uniform map to 1 - 1/n for a single cell.
    """
    sizes = cells_of(maps).abs().sort(dim=1).values
    count = sizes.shape[1]
    places = torch.arange(1, count + 1, dtype=sizes.dtype)
    gini = 2 * (sizes * places).sum(dim=1) / (count * sizes.sum(dim=1)) - (count + 1) / count
    return per_image(gini.tolist())


@register_metric(
    "entropy",
    paper="Bhatt et al. 2020 (complexity), arXiv 2005.00631",
    needs="maps",
    good_for="uniformity of the map, independent of its resolution",
    better="lower",
)
def entropy(maps: Maps) -> PerImage:
    """Entropy of the map's absolute values, divided by ln n: 0 for a single cell, 1 for a uniform map.

    -sum p ln p / ln n with p = |map| / sum |map|. The paper does not divide by ln n, so its values grow with the
    resolution. A map of one cell gives NaN.
    """
    sizes = cells_of(maps).abs()
    chances = sizes / sizes.sum(dim=1, keepdim=True)
    highest = math.log(sizes.shape[1])
    values = torch.special.entr(chances).sum(dim=1) / highest if highest else chances[:, 0] * UNDEFINED
    return per_image(values.tolist())


@register_metric(
    "complexity",
    paper="Poppi et al. 2021, Revisiting The Evaluation of Class Activation Mapping (ADCC), arXiv 2104.10252",
    needs="heatmaps",
    good_for="the mean heat",
    better="lower",
)
def complexity(heatmaps: Maps) -> PerImage:
    """Mean of a heat map in [0, 1]. Some papers call the entropy complexity."""
    unit_range(heatmaps)
    return _where_not_zero(cells_of(heatmaps).mean(dim=1), heatmaps)


@register_metric(
    "effective_complexity",
    paper="Nguyen and Martinez 2020, On quantitative aspects of model interpretability, arXiv 2007.07584",
    needs="maps",
    good_for="the share of cells that are not negligible",
    better="lower",
)
def effective_complexity(maps: Maps, *, threshold: float = 0.01) -> PerImage:
    """Share of cells whose absolute value exceeds `threshold` times the map's highest absolute value.

    The paper counts cells, n times this value. The threshold is relative, so the scale of the map has no effect.
    """
    sizes = cells_of(maps).abs()
    within("threshold", threshold, 0, 1)
    above = sizes > threshold * sizes.amax(dim=1, keepdim=True)
    return _where_not_zero(above.double().mean(dim=1), maps)


@register_metric(
    "border_energy",
    paper="ours, after Lapuschkin et al. 2019, Unmasking Clever Hans predictors, arXiv 1902.10178",
    needs="maps",
    good_for="heat at the border, where frames, captions and watermarks are",
    better="lower",
)
def border_energy(maps: Maps, *, width: float = 0.1) -> PerImage:
    """Share of the positive evidence in a border, `width` times the image wide on every side.

    The width is rounded to cells, at least one. A uniform map gives the share of the cells that are in the border: by
    default 0.36 of 10 x 10, 0.49 of 7 x 7 and 0.44 of 8 x 8.
    """
    return _energy_where(maps, _rims(maps, width) >= 1)


@register_metric(
    "corner_energy",
    paper="ours, after Lapuschkin et al. 2019, Unmasking Clever Hans predictors, arXiv 1902.10178",
    needs="maps",
    good_for="heat in the corners, where logos and timestamps are",
    better="lower",
)
def corner_energy(maps: Maps, *, width: float = 0.2) -> PerImage:
    """Share of the positive evidence in the corners, `width` times the image long along every axis.

    The width is rounded to cells, at least one. A uniform map gives the share of the cells that are in the corners: by
    default 0.16 of 10 x 10, 0.08 of 7 x 7 and 0.25 of 8 x 8.
    """
    return _energy_where(maps, _rims(maps, width) == maps.ndim - 1)


@register_metric(
    "spread",
    paper="second moment of the heat, as in image moments (Hu 1962, IRE Trans. Information Theory 8)",
    needs="maps",
    good_for="the extent of the heat: 0 for a single cell, 1 for a uniform map",
)
def spread(maps: Maps) -> PerImage:
    """Root mean square distance of the positive evidence from its center, relative to that of a uniform map.

    All axes have length 1, whatever their number of cells. Above 1 if the heat is at opposite borders.
    """
    energy = cells_of(maps).clamp_min(0)
    chances = energy / energy.sum(dim=1, keepdim=True)
    sides = [(torch.arange(side, dtype=torch.float64) + 0.5) / side for side in maps.shape[1:]]
    places = torch.stack(torch.meshgrid(*sides, indexing="ij")).flatten(1)
    variances = _variance(places, chances)
    even = _variance(places, torch.ones_like(chances[:1]) / chances.shape[1])
    return per_image((variances / even).sqrt().tolist())


def _variance(places: Float[Tensor, "axes cells"], chances: Float[Tensor, "n cells"]) -> Float[Tensor, " n"]:
    """Sum of the variances along all axes."""
    centers = chances @ places.T
    distances = places - centers[:, :, None]
    return (chances[:, None] * distances.square()).sum(dim=(1, 2))


def _rims(maps: Tensor, width: float) -> Tensor:
    """The number of axes along which each cell is within `width` of an end."""
    within("width", width, 0, 0.5)
    near = torch.zeros((), dtype=torch.long)
    for side in maps.shape[1:]:
        rim, places = max(1, round(width * side)), torch.arange(side)
        near = near[..., None] + ((places < rim) | (places >= side - rim)).long()
    return near.flatten()


def _energy_where(maps: Tensor, chosen: Tensor) -> PerImage:
    energy = cells_of(maps).clamp_min(0)
    return per_image(((energy * chosen).sum(dim=1) / energy.sum(dim=1)).tolist())


def _where_not_zero(values: Tensor, maps: Tensor) -> PerImage:
    cells = cells_of(maps)
    return per_image(values.where(cells.isfinite().all(dim=1) & (cells != 0).any(dim=1), UNDEFINED).tolist())
