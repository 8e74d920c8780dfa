"""Similarity of pairs of maps (n, *size), results (n,).

If one of the maps is constant or not finite, the result is NaN.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import InputError
from camlens.core.registry import register_metric
from camlens.metrics.arguments import (
    UNDEFINED,
    Cells,
    Maps,
    PerImage,
    cells_of,
    per_image,
    says_something,
    tensor_of,
    within,
)
from camlens.metrics.windows import filtered, gaussian_window

OtherMaps = Float[Tensor, "..."]


@register_metric(
    "pearson",
    paper="Pearson 1895, Notes on regression and inheritance",
    needs="first, second",
    good_for="linear correlation of two maps; 1 for equal maps",
)
def pearson(first: Maps, second: OtherMaps) -> PerImage:
    """Correlation of the values of two maps, in [-1, 1]."""
    return _correlation(*_pair(first, second))


@register_metric(
    "spearman",
    paper="Spearman 1904, The Proof and Measurement of Association between Two Things",
    needs="first, second",
    good_for="rank correlation of two maps, independent of their scales; 1 for the same order",
)
def spearman(first: Maps, second: OtherMaps) -> PerImage:
    """Correlation of the ranks of two maps, in [-1, 1]; cells of equal value share their mean rank.

    Pass absolute values to ignore the sign.
    """
    left, right = _pair(first, second)
    return _correlation(ranks(left), ranks(right))


@register_metric(
    "ssim",
    paper="Wang et al. 2004, Image Quality Assessment (SSIM), IEEE Trans. Image Processing 13",
    needs="first, second",
    good_for="local similarity of two heat maps; 1 for equal maps",
)
def ssim(first: Maps, second: OtherMaps, *, deviation: float = 1.5, data_range: float = 1.0) -> PerImage:
    """Mean structural similarity of two maps under a Gaussian window, in [-1, 1].

    The window has 11 cells along every axis, or the largest odd number that fits, and is not padded. `data_range` is
    the range of the values: 1 for heat maps.
    """
    left, right = _pair(first, second)
    within("data_range", data_range, 0, float("inf"))
    length = min(11, *((side - 1) // 2 * 2 + 1 for side in first.shape[1:]))
    window = gaussian_window(length, within("deviation", deviation, 0, float("inf")))

    def smooth(cells: Tensor) -> Tensor:
        return filtered(cells.view(first.shape), window).flatten(1)

    means = smooth(left), smooth(right)
    spreads = smooth(left * left) - means[0] ** 2, smooth(right * right) - means[1] ** 2
    shared = smooth(left * right) - means[0] * means[1]
    small, smaller = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    above = (2 * means[0] * means[1] + small) * (2 * shared + smaller)
    below = (means[0] ** 2 + means[1] ** 2 + small) * (spreads[0] + spreads[1] + smaller)
    defined = says_something(left) & says_something(right)
    return per_image((above / below).mean(dim=1).where(defined, UNDEFINED).tolist())


def ranks(cells: Cells) -> Cells:
    """Rank of each cell in its row, from 1; equal values share their mean rank."""
    ordered, order = cells.sort(dim=1)
    below = torch.searchsorted(ordered, ordered, side="left")
    up_to = torch.searchsorted(ordered, ordered, side="right")
    return torch.empty_like(cells).scatter(1, order, (below + up_to + 1).to(cells) / 2)


def _pair(first: Tensor, second: Tensor) -> tuple[Cells, Cells]:
    if tensor_of("maps", first).shape != tensor_of("maps", second).shape:
        raise InputError(
            f"maps must have the same shape, not {tuple(first.shape)} and {tuple(second.shape)}: resize one of them",
            code="maps.shape",
            shapes=(tuple(first.shape), tuple(second.shape)),
        )
    return cells_of(first), cells_of(second)


def _correlation(first: Cells, second: Cells) -> PerImage:
    left, right = (cells - cells.mean(dim=1, keepdim=True) for cells in (first, second))
    scale = left.square().sum(dim=1).sqrt() * right.square().sum(dim=1).sqrt()
    defined = says_something(first) & says_something(second)
    values = (left * right).sum(dim=1) / scale
    return per_image(values.clamp(-1, 1).where(defined, UNDEFINED).tolist())
