"""Shared types. Axes: n images, t targets, k channels, *grid cells of a layer, *spatial pixels."""

from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

Images = Float[Tensor, "n c *spatial"]
Features = Float[Tensor, "n k *grid"]
Maps = Float[Tensor, "n *grid"]
TargetMaps = Float[Tensor, "n t *grid"]
Heatmaps = Float[Tensor, "n t *size"]
Scores = Float[Tensor, "n t"]
Logits = Float[Tensor, "n classes"]
Classes = Int[Tensor, "n t"]
Mask = Bool[Tensor, "*size"]

Layer = str | nn.Module
Method = str | Callable[..., object]
SelectOutput = Callable[..., object]


@runtime_checkable
class Pixels(Protocol):
    """A PIL image or a numpy array: (H, W, 3) or (H, W), uint8 or in [0, 1]."""

    @property
    def __array_interface__(self) -> Mapping[str, object]: ...


Picture = str | PathLike[str] | Pixels | Tensor
Pictures = Picture | Sequence[Picture]


def precise(tensor: Tensor) -> Tensor:
    """Convert to float32, unless the tensor is float64."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
