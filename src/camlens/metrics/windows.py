"""Separable Gaussian filters for any number of axes."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv1d, pad

from camlens.core.types import Images


def gaussian_window(length: int, deviation: float) -> Float[Tensor, " length"]:
    """Gaussian weights of `length` cells, which sum to 1."""
    offsets = torch.arange(length, dtype=torch.float64) - (length - 1) / 2
    weights = torch.exp(-offsets.square() / (2 * deviation**2))
    return weights / weights.sum()


def filtered(values: Float[Tensor, "n *size"], window: Tensor) -> Float[Tensor, "n *smaller"]:
    """Convolve every axis but the first with the window, without padding."""
    for axis in range(1, values.ndim):
        lines = values.movedim(axis, -1)
        smooth = conv1d(lines.reshape(-1, 1, lines.shape[-1]), window.to(values)[None, None])
        values = smooth.reshape(*lines.shape[:-1], -1).movedim(-1, axis)
    return values


def blurred(inputs: Images, *, deviation: float = 5.0, length: int = 11) -> Images:
    """Blur images (n, c, *size) as RISE's insertion does (Petsiuk et al. 2018, arXiv 1806.07421).

    The defaults are those of its code: a kernel of 11 pixels with a deviation of 5, and zeros beyond the border, so
    that the image gets darker there.
    """
    planes, window = inputs.flatten(0, 1), folded_window(length, deviation).to(inputs)
    for axis in range(1, planes.ndim):
        lines = planes.movedim(axis, -1)
        wide = pad(lines.reshape(-1, 1, lines.shape[-1]), (length // 2, (length - 1) // 2))
        smooth = conv1d(wide, window[None, None])
        planes = smooth.reshape(lines.shape).movedim(-1, axis)
    return planes.reshape(inputs.shape)


def folded_window(length: int, deviation: float) -> Float[Tensor, " length"]:
    """Gaussian weights of `length` cells, cut at four deviations and reflected at both ends; they sum to 1.

    It is what a Gaussian filter with reflected borders makes of a single cell in the middle. For a deviation of half
    the length it is flatter than `gaussian_window`.
    """
    reach = int(4 * deviation + 0.5)
    places = (length // 2 + torch.arange(-reach, reach + 1)) % (2 * length)
    folded = torch.where(places < length, places, 2 * length - 1 - places)
    return torch.zeros(length, dtype=torch.float64).index_add(0, folded, gaussian_window(2 * reach + 1, deviation))
