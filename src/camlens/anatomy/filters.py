"""What convolutions look for: their learned weights, with what each filter is like in numbers and as a picture."""

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
    """One filter as bytes (height, width) or (height, width, 3), and in words which part of it is shown.

    Signed pictures have zero at 128 (127.5 before rounding) and the largest magnitude at 0 or 255. Coloured
    ones reach from the lowest weight, 0, to the highest, 255.
    """

    pixels: NDArray[np.uint8]
    shown: str


@dataclass(frozen=True, eq=False)
class Filters:
    """The k filters of one convolution.

    Attributes:
        weights: float32 (k, channels, *kernel), a copy on the CPU; channels are those that one filter reads.
    """

    weights: Float[Tensor, "k channels *kernel"]

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def colours(self) -> Literal["rgb", "signed"]:
        """ "rgb" where filters of more than one cell read three channels, as first layers do; else "signed"."""
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
        """Lowest weight of each filter."""
        return self.weights.flatten(1).amin(dim=1)

    @property
    def maximum(self) -> PerFilter:
        """Highest weight of each filter."""
        return self.weights.flatten(1).amax(dim=1)

    @property
    def norm(self) -> PerFilter:
        """Euclidean length of each filter: near zero where training has switched it off."""
        lengths: Tensor = self.weights.flatten(1).norm(dim=1)
        return lengths

    def picture(self, index: int) -> FilterPicture:
        """One filter of a 2-D convolution as a small picture.

        Filters on three channels are in colour, stretched to their own range. Others are signed around zero:
        the input channel with the largest norm, or, for filters of a single cell, the weights of all input
        channels laid out as a square. Raises InputError for an index that does not exist, LayerError for
        convolutions with another number of axes than two.
        """
        if not 0 <= index < len(self):
            raise InputError(
                f"there is no filter {index}: it must be from 0 to {len(self) - 1}",
                code="filter.out-of-range",
                index=index,
                filters=len(self),
            )
        if self.weights.ndim != 4:
            raise LayerError(
                f"filters with {self.weights.ndim - 2} axes are no pictures; read them in `weights`",
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
    """The learned filters of a convolution with 1, 2 or 3 axes, as a frozen copy of its weights.

    Raises LayerError for any other module, and for a lazy convolution that has not run yet.

        filters(model.conv1).norm.argsort()[:5]  # the five weakest
    """
    if not isinstance(layer, _CONVOLUTIONS):
        raise LayerError(
            f"a {type(layer).__name__} has no filters to look at: pass a convolution of the model, such as model.conv1",
            code="layer.no-filters",
            type=type(layer).__name__,
        )
    if is_lazy(layer.weight):
        raise LayerError("this lazy convolution has no weights yet: run the model once on an input", code="model.lazy")
    with torch.inference_mode(False):
        weights = layer.weight.detach().to("cpu", torch.float32, copy=True).contiguous()
    return Filters(weights)


def _signed(values: Tensor) -> NDArray[np.uint8]:
    most = values.abs().max() or values.new_ones(())
    return _bytes((values / most + 1) / 2)


def _bytes(shares: Tensor) -> NDArray[np.uint8]:
    """Shares in [0, 1] as bytes."""
    return np.round(shares.numpy() * 255).astype(np.uint8)
