"""Bounding boxes of the hot regions, compared with the box of the object."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import max_pool1d, max_pool2d, max_pool3d

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
    within,
)
from camlens.metrics.localisation import hot_cells

Box = tuple[tuple[int, int], ...]
"""(first, one past the last) along every axis."""

THRESHOLDS = tuple(step / 20 for step in range(1, 20))
_POOLS = {1: max_pool1d, 2: max_pool2d, 3: max_pool3d}


@register_metric(
    "max_box_accuracy",
    paper="Choe et al. 2020, Evaluating WSOL Methods Right, arXiv 2001.07437",
    needs="heatmaps, masks",
    good_for="whether a box around the hot region is a good detection",
    better="higher",
)
def max_box_accuracy(
    heatmaps: Maps, masks: Masks, *, threshold: float = 0.5, overlap: float = 0.5, diagonal: bool = True
) -> PerImage:
    """1 if the box of the largest hot region overlaps the mask's box by at least `overlap`, else 0.

    A cell is hot if its value is at least `threshold` times the maximum. The overlap is the intersection over union.
    Of several regions of the same size, the first in reading order is used. If `diagonal`, cells that touch at a corner
    are connected (8-connectivity in 2-D, else 4). The paper reports the mean at the best threshold: choose it with
    `best_box_threshold` on other images.
    """
    within("overlap", overlap, 0, 1)
    overlaps = box_overlap(heatmaps, masks, threshold=threshold, diagonal=diagonal)
    return (overlaps >= overlap).float().where(overlaps.isfinite(), UNDEFINED)


def box_overlap(heatmaps: Maps, masks: Masks, *, threshold: float = 0.5, diagonal: bool = True) -> PerImage:
    """Intersection over union of the boxes of the largest hot region and of the mask."""
    cells, targets = cells_of(heatmaps), masks_of(heatmaps, masks)
    defined = says_something(cells) & targets.any(dim=1) & (cells.amax(dim=1) > 0)
    hot = (hot_cells(cells, threshold) & defined[:, None]).view(masks.shape)
    largest = largest_regions(hot, diagonal=diagonal)
    values = [
        _overlap(box_of(region), box_of(mask)) if known else UNDEFINED
        for region, mask, known in zip(largest, masks.cpu(), defined.tolist(), strict=True)
    ]
    return per_image(values)


def best_box_threshold(
    heatmaps: Maps, masks: Masks, *, thresholds: Sequence[float] = THRESHOLDS, overlap: float = 0.5
) -> float:
    """Return the threshold with the highest mean `max_box_accuracy`; the lowest one in case of ties.

    Use images that are not evaluated afterwards, else the results are too optimistic.
    """
    if not thresholds:
        raise InputError("thresholds must not be empty", code="argument.empty", name="thresholds")
    hits = [
        float(max_box_accuracy(heatmaps, masks, threshold=threshold, overlap=overlap).nansum())
        for threshold in sorted(thresholds)
    ]
    return sorted(thresholds)[hits.index(max(hits))]


def regions(masks: Bool[Tensor, "n *size"], *, diagonal: bool = True) -> Int[Tensor, "n *size"]:
    """Label the connected regions of every mask; cells outside get -1.

    A label is the highest flat index of its region in the batch. In each round cells take the highest label of their
    neighbors and then the label of the cell at that index, so long winding regions need few rounds.
    """
    if masks.ndim - 1 not in _POOLS:
        raise InputError(
            f"masks must have 1, 2 or 3 spatial axes, not {masks.ndim - 1}",
            code="masks.shape",
            axes=masks.ndim - 1,
        )
    outside = masks.new_full((), -1, dtype=torch.long)
    labels = torch.arange(masks.numel(), device=masks.device).view(masks.shape).where(masks, outside)
    while True:
        spread = _highest_nearby(labels, diagonal=diagonal).where(masks, outside)
        jumped = spread.flatten()[spread.clamp_min(0)].where(masks, outside)
        if torch.equal(jumped, labels):
            return labels
        labels = jumped


def largest_regions(masks: Bool[Tensor, "n *size"], *, diagonal: bool = True) -> Bool[Tensor, "n *size"]:
    """Return the largest connected region of every mask; the first in reading order in case of ties."""
    result = []
    for labels in regions(masks, diagonal=diagonal):
        inside = labels[labels >= 0]
        if inside.numel() == 0:
            result.append(labels >= 0)
            continue
        region_labels, sizes = inside.unique(return_counts=True)
        largest = region_labels[sizes == sizes.max()]
        first = inside[torch.isin(inside, largest)][0]
        result.append(labels == first)
    return torch.stack(result)


def box_of(mask: Bool[Tensor, "*size"]) -> Box:
    """Return the bounding box of the True cells of a mask that is not empty."""
    indices = mask.nonzero()
    lows, highs = indices.amin(dim=0).tolist(), indices.amax(dim=0).tolist()
    return tuple((int(low), int(high) + 1) for low, high in zip(lows, highs, strict=True))


def _highest_nearby(labels: Int[Tensor, "n *size"], *, diagonal: bool) -> Int[Tensor, "n *size"]:
    axes = labels.ndim - 1
    values: Float[Tensor, "n 1 *size"] = labels.double()[:, None]
    kernels = [(3,) * axes] if diagonal else [tuple(3 if k == axis else 1 for k in range(axes)) for axis in range(axes)]
    pooled = [_POOLS[axes](values, kernel, stride=1, padding=tuple(side // 2 for side in kernel)) for kernel in kernels]
    return torch.stack(pooled).amax(dim=0)[:, 0].long()


def _overlap(first: Box, second: Box) -> float:
    shared, areas = 1, [1, 1]
    for (low, high), (other_low, other_high) in zip(first, second, strict=True):
        shared *= max(0, min(high, other_high) - max(low, other_low))
        areas[0] *= high - low
        areas[1] *= other_high - other_low
    return shared / (sum(areas) - shared)
