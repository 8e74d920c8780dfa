"""Learned filters of convolutions, with statistics and a picture for each filter."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from camlens.core.errors import InputError, LayerError

PerFilter = Float[Tensor, " k"]
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True, eq=False)
class FilterPicture:
    """One filter as uint8 pixels (height, width) or (height, width, 3), and which part of it is `shown`.

    In signed pictures zero is 128 (127.5 before rounding) and the largest magnitude is 0 or 255. In color pictures the
    lowest weight is 0 and the highest 255.
    """

    pixels: NDArray[np.uint8]
    shown: str


@dataclass(frozen=True, eq=False)
class Filters:
    """The k filters of one convolution.

    Attributes:
        weights: a copy of the weights as float32 (k, channels, *kernel) on the CPU; channels are those of one filter.
    """

    weights: Float[Tensor, "k channels *kernel"]

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def colours(self) -> Literal["rgb", "signed"]:
        """ "rgb" if filters have three channels and more than one cell, as in first layers; else "signed"."""
        planes = self.weights.ndim == 4 and self.weights.shape[2:].numel() > 1
        return "rgb" if planes and self.weights.shape[1] == 3 else "signed"

    @property
    def mean(self) -> PerFilter:
        """Mean weight of each filter."""
        return self.weights.flatten(1).mean(dim=1)

    @property
    def deviation(self) -> PerFilter:
        """Standard deviation of each filter's weights."""
        return self.weights.flatten(1).std(dim=1, correction=0)

    @property
    def minimum(self) -> PerFilter:
        """Minimum weight of each filter."""
        return self.weights.flatten(1).amin(dim=1)

    @property
    def maximum(self) -> PerFilter:
        """Maximum weight of each filter."""
        return self.weights.flatten(1).amax(dim=1)

    @property
    def norm(self) -> PerFilter:
        """Euclidean norm of each filter; close to zero for filters that are not used."""
        lengths: Tensor = self.weights.flatten(1).norm(dim=1)
        return lengths

    def picture(self, index: int) -> FilterPicture:
        """Return one filter of a 2-D convolution as a small picture.

        Filters with three channels are shown in color, scaled to their range. Others are signed: the input channel with
        the largest norm, or, for filters of a single cell, the weights of all input channels as a square. Raises
        InputError if `index` is out of range, and LayerError for convolutions that are not 2-D.
        """
        if not 0 <= index < len(self):
            raise InputError(
                f"filter {index} is out of range: there are {len(self)} (0 to {len(self) - 1})",
                code="filter.out-of-range",
                index=index,
                filters=len(self),
            )
        if self.weights.ndim != 4:
            raise LayerError(
                f"only filters with two axes can be drawn, not {self.weights.ndim - 2}: use `weights`",
                code="layer.no-pictures",
                axes=self.weights.ndim - 2,
            )
        weight = self.weights[index]
        if self.colours == "rgb":
            low, span = weight.min(), (weight.max() - weight.min()) or weight.new_ones(())
            return FilterPicture(_bytes((weight.permute(1, 2, 0) - low) / span), "red, green and blue")
        if weight.shape[1:].numel() == 1:
            side = math.ceil(math.sqrt(len(weight)))
            square = weight.new_zeros(side * side)
            square[: len(weight)] = weight.flatten()
            return FilterPicture(_signed(square.view(side, side)), "weights of all input channels")
        strongest = int(weight.flatten(1).norm(dim=1).argmax())
        return FilterPicture(_signed(weight[strongest]), f"input channel {strongest}")

    def __repr__(self) -> str:
        kernel = " x ".join(map(str, self.weights.shape[2:]))
        return f"<Filters: {len(self)} of {self.weights.shape[1]} channels, {kernel}, {self.colours}>"


def filters(layer: nn.Module) -> Filters:
    """Return a copy of the learned filters of a convolution with 1, 2 or 3 axes.

    Raises LayerError for any other module and for a lazy convolution that has not run yet.

        filters(model.conv1).norm.argsort()[:5]  # the five weakest
    """
    if not isinstance(layer, _CONVOLUTIONS):
        raise LayerError(
            f"{type(layer).__name__} has no filters: pass a convolution of the model, such as model.conv1",
            code="layer.no-filters",
            type=type(layer).__name__,
        )
    if is_lazy(layer.weight):
        raise LayerError("the lazy convolution has no weights yet: run the model once", code="model.lazy")
    with torch.inference_mode(False):
        weights = layer.weight.detach().to("cpu", torch.float32, copy=True).contiguous()
    return Filters(weights)


def _signed(values: Tensor) -> NDArray[np.uint8]:
    largest = values.abs().max() or values.new_ones(())
    return _bytes((values / largest + 1) / 2)


def _bytes(shares: Tensor) -> NDArray[np.uint8]:
    """Convert values in [0, 1] to uint8."""
    return np.round(shares.numpy() * 255).astype(np.uint8)
