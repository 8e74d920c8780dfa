"""Further results of methods besides their maps."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from camlens.core.types import TargetMaps


@dataclass(frozen=True, eq=False)
class Found:
    """Maps (n, t, *grid) with details; a method may return this instead of maps.

    Attributes:
        maps: the maps.
        details: further results by name. Tensors have the n images as their first axis; other values must be
            representable in JSON and apply to all images.
    """

    maps: TargetMaps
    details: Mapping[str, Any] = field(default_factory=dict)


def joined_details(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Concatenate the tensors of several batches, padded with zeros; take other values from the first batch."""
    return {
        name: padded_rows([part[name] for part in parts]) if isinstance(value, Tensor) else value
        for name, value in parts[0].items()
    }


def padded_rows(tensors: Sequence[Tensor]) -> Tensor:
    """Concatenate tensors (n_i, ...), padded with zeros to the largest size of every other axis."""
    shape = [max(lengths) for lengths in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    rows = []
    for tensor in tensors:
        missing = [longest - length for longest, length in zip(shape, tensor.shape[1:], strict=True)]
        padding = [side for length in reversed(missing) for side in (0, length)]
        rows.append(torch.nn.functional.pad(tensor, padding) if any(missing) else tensor)
    return torch.cat(rows)


def described(details: Mapping[str, Any]) -> dict[str, Any]:
    """Convert details to JSON values, with the shape and dtype of tensors, which are saved as arrays."""
    return {
        name: {"shape": list(value.shape), "dtype": str(value.dtype).removeprefix("torch.")}
        if isinstance(value, Tensor)
        else value
        for name, value in details.items()
    }


def finite(value: float | None) -> float | None:
    """Return the number, or None if JSON cannot hold it."""
    return value if value is not None and math.isfinite(value) else None


def json_values(tensor: Tensor) -> Any:
    """Return the numbers of a tensor as nested lists, with None for those that JSON cannot hold."""
    if tensor.is_floating_point() and not torch.isfinite(tensor).all():
        return [json_values(row) for row in tensor] if tensor.ndim else finite(float(tensor))
    return tensor.tolist()
