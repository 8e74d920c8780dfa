"""Localization: comparison of maps with masks of the object.

Maps and masks are (n, *size), results (n,). Empty masks, and maps that are constant or not finite, give NaN. If the
result depends on the order of cells of equal value, it is the mean over all orders.
"""

import itertools
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool1d, pad

from camlens.core.arguments import checked_count
from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.metrics.arguments import (
    UNDEFINED,
    Maps,
    Masks,
    PerImage,
    cells_of,
    masks_of,
    per_image,
    says_something,
    tensor_of,
    within,
)
from camlens.metrics.patches import patch_of_each_cell


@register_metric(
    "pointing_game",
    paper="Zhang et al. 2016, Top-down Neural Attention by Excitation Backprop, arXiv 1608.00507",
    needs="heatmaps, masks",
    good_for="whether the maximum is on the object",
    better="higher",
)
def pointing_game(heatmaps: Maps, masks: Masks, *, tolerance: int = 0) -> PerImage:
    """1 if the maximum is on the object or within `tolerance` cells of it, else 0.

    If several cells share the maximum, the result is the share of them that hit. Distances are Euclidean. The paper
    uses a tolerance of 15 pixels and averages per class before it averages over classes; TorchRay accepts distances
    below the tolerance, not equal to it.
    """
    radius = checked_count("tolerance", tolerance, least=0)
    targets = masks_of(heatmaps, grown(tensor_of("masks", masks), radius))
    cells = cells_of(heatmaps)
    hottest = cells == cells.amax(dim=1, keepdim=True)
    shares = (hottest & targets).sum(dim=1) / hottest.sum(dim=1)
    return _where_defined(shares, cells, targets)


@register_metric(
    "energy_inside",
    paper="Wang et al. 2020, Score-CAM (energy-based pointing game), arXiv 1910.01279",
    needs="maps, masks",
    good_for="the share of the heat on the object",
    better="higher",
)
def energy_inside(maps: Maps, masks: Masks) -> PerImage:
    """Share of the positive evidence inside the mask.

    sum of relu(map) inside / sum of relu(map). Pass maps that are not shifted: min-max normalization of a signed map
    makes almost every cell positive and changes the result. Maps without positive evidence give NaN.
    """
    cells, targets = cells_of(maps), masks_of(maps, masks)
    energy = cells.clamp_min(0)
    return _where_defined((energy * targets).sum(dim=1) / energy.sum(dim=1), cells, targets)


@register_metric(
    "grid_pointing_game",
    paper="Rao et al. 2022, Towards Better Understanding Attribution Methods, arXiv 2205.10435",
    needs="maps, cells",
    good_for="whether the heat is on the image of the class in a grid of images of different classes",
    better="higher",
)
def grid_pointing_game(maps: Maps, cells: Int[Tensor, " n"], *, grid: int = 2) -> PerImage:
    """Share of the positive evidence in one cell of a grid of images.

    Each input is a grid of `grid` images of different classes along every axis, and each map is for the class of the
    image `cells` (n,), counted in reading order. Evenly spread heat gives 1 / grid^2 in 2-D. If the model sees
    each image alone (DiFull), a method that is local gives 1. Maps without positive evidence give NaN.
    """
    patches = patch_of_each_cell(maps.shape[1:], checked_count("grid", grid, least=2))
    count = int(patches.max()) + 1
    if tensor_of("cells", cells).shape != maps.shape[:1] or bool(((cells < 0) | (cells >= count)).any()):
        raise InputError(
            f"cells must be one index from 0 to {count - 1} for each of {len(maps)} maps",
            code="argument.invalid",
            name="cells",
            value=cells,
        )
    return energy_inside(maps, (patches == cells.cpu()[:, None]).view(maps.shape))


@register_metric(
    "relevance_rank_accuracy",
    paper="Arras et al. 2022, CLEVR-XAI, arXiv 2003.07258",
    needs="maps, masks",
    good_for="agreement with the mask without a threshold",
    better="higher",
)
def relevance_rank_accuracy(maps: Maps, masks: Masks) -> PerImage:
    """Share of the k highest cells that are inside the mask, k the size of the mask."""
    cells, targets = cells_of(maps), masks_of(maps, masks)
    values = [_hottest_inside(row, target, int(target.sum())) for row, target in zip(cells, targets, strict=True)]
    return _where_defined(torch.tensor(values), cells, targets)


@register_metric(
    "top_k_intersection",
    paper="Theiner et al. 2022, Interpretable Semantic Photo Geolocation, arXiv 2104.14995",
    needs="maps, masks",
    good_for="whether the highest cells are on the object, whatever its size",
    better="higher",
)
def top_k_intersection(maps: Maps, masks: Masks, *, k: int = 1000) -> PerImage:
    """Share of the k highest cells that are inside the mask.

    Below 1 for masks of fewer than k cells.
    """
    cells, targets = cells_of(maps), masks_of(maps, masks)
    count = checked_count("k", k)
    if count > cells.shape[1]:
        raise InputError(
            f"k must be at most the number of cells of a map, {cells.shape[1]}, not {k}",
            code="argument.invalid",
            name="k",
            value=k,
        )
    values = [_hottest_inside(row, target, count) for row, target in zip(cells, targets, strict=True)]
    return _where_defined(torch.tensor(values), cells, targets)


@register_metric(
    "intersection_over_union",
    paper="Zhou et al. 2016, Learning Deep Features for Discriminative Localization, arXiv 1512.04150",
    needs="heatmaps, masks",
    good_for="agreement of the hot region with the mask",
    better="higher",
)
def intersection_over_union(heatmaps: Maps, masks: Masks, *, threshold: float = 0.5) -> PerImage:
    """Intersection over union of the mask and the cells above `threshold` times the maximum.

    Choose the threshold on images that are not evaluated. Maps without positive values give NaN.
    """
    cells, targets = cells_of(heatmaps), masks_of(heatmaps, masks)
    hot = hot_cells(cells, threshold)
    overlaps = (hot & targets).sum(dim=1) / (hot | targets).sum(dim=1)
    return _where_defined(overlaps.where(cells.amax(dim=1) > 0, UNDEFINED), cells, targets)


@register_metric(
    "pixel_average_precision",
    paper="Choe et al. 2020, Evaluating WSOL Methods Right, arXiv 2001.07437",
    needs="maps, masks",
    good_for="agreement with the mask over all thresholds at once",
    better="higher",
)
def pixel_average_precision(maps: Maps, masks: Masks) -> PerImage:
    """Area under the precision-recall curve of the cells as predictions of the mask.

    sum over distinct values of (recall - previous recall) * precision; cells of equal value enter together. The
    paper's PxAP pools the cells of all images; this is the same area for each image.
    """
    cells, targets = cells_of(maps), masks_of(maps, masks)
    values = [_average_precision(row, target) for row, target in zip(cells, targets, strict=True)]
    return _where_defined(torch.tensor(values), cells, targets)


def hot_cells(cells: Float[Tensor, "n cells"], threshold: float) -> Bool[Tensor, "n cells"]:
    """Whether each cell is at least `threshold` times the maximum of its map."""
    within("threshold", threshold, 0, 1)
    return cells >= threshold * cells.amax(dim=1, keepdim=True)


def grown(masks: Masks, radius: int) -> Masks:
    """Dilate masks (n, *size) by a Euclidean radius in cells."""
    if radius == 0:
        return masks
    leading = masks.ndim - 2
    wide = pad(masks.float(), [0, 0, *[radius, radius] * leading])
    result = torch.zeros_like(masks)
    for offsets in itertools.product(range(-radius, radius + 1), repeat=leading):
        left = radius**2 - sum(offset**2 for offset in offsets)
        if left < 0:
            continue
        shifted = wide[_window(offsets, radius, masks.shape[1:-1])]
        reach = int(left**0.5 + 1e-9)
        lines = max_pool1d(shifted.reshape(1, -1, shifted.shape[-1]), 2 * reach + 1, stride=1, padding=reach)
        result = result | (lines.reshape(masks.shape) > 0)
    return result


def _window(offsets: Sequence[int], radius: int, size: Sequence[int]) -> tuple[slice, ...]:
    """Slices of a padded tensor that shift its center by `offsets` along the leading axes."""
    starts = [radius + offset for offset in offsets]
    return (slice(None), *[slice(start, start + length) for start, length in zip(starts, size, strict=True)])


def _hottest_inside(cells: Tensor, target: Tensor, count: int) -> float:
    """Expected share of the `count` highest cells inside the target if ties are broken at random."""
    if count == 0 or not bool(cells.isfinite().all()):
        return UNDEFINED
    edge = cells.topk(count).values[-1]
    above, tied = cells > edge, cells == edge
    remaining = count - int(above.sum())
    inside = float((above & target).sum()) + remaining * float((tied & target).sum()) / float(tied.sum())
    return inside / count


def _average_precision(cells: Tensor, target: Tensor) -> float:
    if not bool(target.any()):
        return UNDEFINED
    order = cells.argsort(descending=True)
    last_of_value = torch.cat([cells[order].diff() != 0, torch.ones(1, dtype=torch.bool)])
    hits = target[order].double().cumsum(dim=0)[last_of_value]
    predicted = (last_of_value.nonzero().squeeze(1) + 1).double()
    recall, precision = hits / hits[-1], hits / predicted
    return float((recall.diff(prepend=recall.new_zeros(1)) * precision).sum())


def _where_defined(values: Tensor, cells: Tensor, targets: Tensor) -> PerImage:
    defined = says_something(cells) & targets.any(dim=1)
    return per_image(values.where(defined, UNDEFINED).tolist())
