"""What a convolution looks for: its learned weights as small pictures with their statistics."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camlens.core.errors import LayerError
from camlens.studio.encoding import byte_text
from camlens.studio.schemas import LearnedFilter, LearnedFilters


def learned_filters(module: nn.Module, layer: str, *, offset: int, limit: int) -> LearnedFilters:
    """A page of filters of a 2-D convolution. Raises LayerError for any other layer.

    Filters on three channels are shown in colour, stretched to their own range. Others are shown in signed
    colours around zero: the input channel with the largest norm, or, for filters of a single cell, the
    weights of all input channels laid out as a square.
    """
    if not isinstance(module, nn.Conv2d):
        raise LayerError(f"layer {layer!r} is a {type(module).__name__}: only 2-D convolutions have filters to look at")
    weights = module.weight.detach().float().cpu()
    colours = weights.shape[1] == 3 and weights.shape[2:].numel() > 1
    pictures = [_picture(weights[index], colours) for index in range(offset, min(offset + limit, len(weights)))]
    height, width = pictures[0][1].shape[:2] if pictures else (0, 0)
    return LearnedFilters(
        layer=layer,
        shape=(height, width),
        colours="rgb" if colours else "signed",
        weights=tuple(weights.shape),
        offset=offset,
        count=len(weights),
        filters=tuple(
            _described(offset + place, weights[offset + place], shown, pixels)
            for place, (shown, pixels) in enumerate(pictures)
        ),
    )


def _picture(weight: Tensor, colours: bool) -> tuple[str, NDArray[np.uint8]]:
    """What is shown, in words, and the filter (c, height, width) as bytes (height, width[, 3])."""
    if colours:
        values = weight.permute(1, 2, 0).numpy()
        span = float(values.max() - values.min()) or 1.0
        return "red, green and blue", np.round((values - values.min()) / span * 255).astype(np.uint8)
    if weight.shape[1:].numel() == 1:
        side = math.ceil(math.sqrt(len(weight)))
        square = torch.zeros(side * side)
        square[: len(weight)] = weight.flatten()
        return "weights of all input channels", _signed(square.view(side, side))
    strongest = int(weight.flatten(1).norm(dim=1).argmax())
    return f"input channel {strongest}", _signed(weight[strongest])


def _signed(values: Tensor) -> NDArray[np.uint8]:
    most = float(values.abs().max()) or 1.0
    return np.round((values.numpy() / most + 1) / 2 * 255).astype(np.uint8)


def _described(index: int, weight: Tensor, shown: str, pixels: NDArray[np.uint8]) -> LearnedFilter:
    return LearnedFilter(
        index=index,
        shown=shown,
        mean=float(weight.mean()),
        deviation=float(weight.std(unbiased=False)),
        low=float(weight.min()),
        high=float(weight.max()),
        norm=float(weight.norm()),
        pixels=byte_text(pixels),
    )
