"""What a method found besides its maps: facts by name, joined over batches and written as plain values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from camlens.core.types import TargetMaps


@dataclass(frozen=True, eq=False)
class Found:
    """Maps (n, t, *grid) with facts about them: a method may return this in place of the maps alone.

    Attributes:
        maps: as a method without facts would return them.
        details: by name. A tensor has the n images as its first axis; any other value is plain (JSON can hold
            it) and the same for all images.
    """

    maps: TargetMaps
    details: Mapping[str, Any] = field(default_factory=dict)


def settled(details: Mapping[str, Any]) -> dict[str, Any]:
    """The same facts with their tensors detached."""
    return {name: one.detach() if isinstance(one, Tensor) else one for name, one in details.items()}


def joined_details(parts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The facts of several batches: tensors one below the other, other values as the first batch has them.

    Where images differ in an axis, as in their number of segments, the shorter ones are filled up with zeros.
    """
    first = parts[0]
    return {
        name: padded_rows([part[name] for part in parts]) if isinstance(one, Tensor) else one
        for name, one in first.items()
    }


def padded_rows(tensors: Sequence[Tensor]) -> Tensor:
    """Tensors (n_i, ...) one below the other, filled up with zeros to the longest along every other axis."""
    shape = [max(lengths) for lengths in zip(*(tensor.shape[1:] for tensor in tensors), strict=True)]
    rows = []
    for tensor in tensors:
        missing = [wanted - length for wanted, length in zip(shape, tensor.shape[1:], strict=True)]
        sides = [side for length in reversed(missing) for side in (0, length)]
        rows.append(torch.nn.functional.pad(tensor, sides) if any(missing) else tensor)
    return torch.cat(rows)


def described(details: Mapping[str, Any]) -> dict[str, Any]:
    """The facts as plain values that JSON can hold; tensors by shape and type, since they are written as arrays."""
    return {
        name: {"shape": list(one.shape), "dtype": str(one.dtype).removeprefix("torch.")}
        if isinstance(one, Tensor)
        else one
        for name, one in details.items()
    }
