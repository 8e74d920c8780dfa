"""Linear interpolation of maps with 1, 2 or 3 axes."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from camlens.core.errors import LayerError

_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def resized(
    maps: Float[Tensor, "m t *grid"], size: Sequence[int], *, align_corners: bool = False
) -> Float[Tensor, "m t *size"]:
    """Interpolate maps linearly to `size`, which must have as many axes as their grid."""
    axes = maps.ndim - 2
    if axes != len(size) or axes not in _MODES:
        raise LayerError(
            f"a map with grid {tuple(maps.shape[2:])} cannot be resized to {tuple(size)}: use a layer whose grid has "
            f"as many axes (1, 2 or 3) as the input",
            code="size.invalid",
            size=tuple(size),
        )
    if maps.shape[2:] == tuple(size):
        return maps
    return interpolate(maps, tuple(size), mode=_MODES[axes], align_corners=align_corners)
