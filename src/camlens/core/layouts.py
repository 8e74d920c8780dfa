"""Layouts of layer outputs: conversion to features (n, k, *grid) and back.

A convolution returns (n, k, *grid), a Swin block (n, *grid, k), a vision transformer (n, tokens, k) with class and
register tokens first, and some libraries (tokens, n, k). A wrong layout raises no error but gives a wrong map. It is
detected from the type of the module, then from the fit of the grid to the shape of the input, then from the channels of
the module's weights.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from camlens.core.errors import LayerError

Kind = Literal["channels_first", "channels_last", "tokens", "tokens_first", "channel_tokens"]
KINDS: tuple[Kind, ...] = ("channels_first", "channels_last", "tokens", "tokens_first", "channel_tokens")
MOST_PREFIX_TOKENS = 16
_EVEN_STRIDES = math.log(1.3)  # strides may differ by the rounding of one cell

_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.Upsample,
    nn.Dropout2d,
    nn.PixelShuffle,
)


@dataclass(frozen=True)
class Layout:
    """The layout of a layer's output: its kind, its grid, and the number of prefix tokens.

    `place` is the index of the tensor in the output of a layer that returns several.
    """

    kind: Kind
    grid: tuple[int, ...]
    prefix: int = 0
    place: int = 0

    def features(self, tensor: Tensor) -> Tensor:
        """Convert the layer's tensor to features (n, k, *grid), as a view if possible."""
        match self.kind:
            case "channels_first":
                return tensor
            case "channels_last":
                return tensor.movedim(-1, 1)
            case "tokens":
                return self._folded(tensor[:, self.prefix :].transpose(1, 2))
            case "tokens_first":
                return self._folded(tensor[self.prefix :].permute(1, 2, 0))
            case "channel_tokens":
                return self._folded(tensor[:, :, self.prefix :])

    def every_features(self, tensors: Tensor) -> Tensor:
        """Convert tensors of the layer, stacked along a first axis t, to (t, n, k, *grid)."""
        if self.kind == "channels_first":
            return tensors
        return torch.stack([self.features(tensor) for tensor in tensors])

    def native(self, features: Tensor, like: Tensor) -> Tensor:
        """Convert features (m, k, *grid) to the layer's layout, with prefix tokens of `like`, its output (1, ...)."""
        match self.kind:
            case "channels_first":
                return features
            case "channels_last":
                return features.movedim(1, -1).contiguous()
            case "tokens":
                tokens = features.flatten(2).transpose(1, 2)
                return torch.cat([like[:, : self.prefix].expand(len(features), -1, -1), tokens], dim=1)
            case "tokens_first":
                tokens = features.flatten(2).permute(2, 0, 1)
                return torch.cat([like[: self.prefix].expand(-1, len(features), -1), tokens], dim=0)
            case "channel_tokens":
                tokens = features.flatten(2)
                return torch.cat([like[:, :, : self.prefix].expand(len(features), -1, -1), tokens], dim=2)

    def _folded(self, tokens: Tensor) -> Tensor:
        """Reshape tokens (n, k, cells) to (n, k, *grid)."""
        return tokens.reshape(*tokens.shape[:2], *self.grid)

    def __str__(self) -> str:
        extra = f", {self.prefix} prefix tokens" if self.prefix else ""
        extra += f", output tensor {self.place}" if self.place else ""
        return f"{self.kind} {'x'.join(map(str, self.grid))}{extra}"


class StandIn(nn.Identity):
    """An identity module that replaces a layer of another model and has the layout of that layer."""

    def __init__(self, layout: Layout) -> None:
        super().__init__()
        self.layout = layout


def find_layout(
    module: nn.Module,
    tensor: Tensor,
    *,
    images: int,
    spatial: Sequence[int],
    model: nn.Module,
    kind: Kind | None = None,
) -> Layout:
    """Return the layout of a layer's output, or raise LayerError if it has no spatial grid.

    `images` and `spatial` are the batch size and the spatial size of the input; `kind` overrides the detection.
    """
    if isinstance(module, StandIn) and kind in (None, module.layout.kind):
        return module.layout
    shape = tuple(tensor.shape)
    for layout in _candidates(module, shape, images=images, spatial=tuple(spatial), model=model):
        if layout.kind == kind if kind else not _is_one_vector(layout, tensor):
            return layout
    wanted = f" as {kind}" if kind else ""
    raise LayerError(
        f"its output {shape} is not a spatial grid{wanted} for {images} input(s) of {tuple(spatial)}",
        code="layout.unreadable",
        shape=shape,
        images=images,
    )


def _is_one_vector(layout: Layout, tensor: Tensor) -> bool:
    """Whether tokens would have a single channel: the tensor is then a pooled vector of channels."""
    return layout.kind not in ("channels_first", "channels_last") and layout.features(tensor).shape[1] == 1


def _candidates(
    module: nn.Module, shape: tuple[int, ...], *, images: int, spatial: tuple[int, ...], model: nn.Module
) -> Iterator[Layout]:
    """Yield possible layouts, most likely first."""
    if len(shape) == len(spatial) + 2 and shape[0] == images:
        dense = [Layout("channels_first", shape[2:]), Layout("channels_last", shape[1:-1])]
        yield from _ranked(dense, module, shape, spatial, model)
    elif len(shape) == 3:
        yield from _token_layouts(shape, images=images, spatial=spatial, model=model)


def _ranked(
    dense: list[Layout], module: nn.Module, shape: tuple[int, ...], spatial: tuple[int, ...], model: nn.Module
) -> Iterator[Layout]:
    """Order the dense layouts by the type of the module, then by geometry, then by its weights."""
    first, last = dense
    if isinstance(module, _CHANNELS_FIRST):
        yield from (first, last)
    elif _speaks_channels_last(module, shape):
        yield from (last, first)
    else:
        fits = [_unevenness(layout.grid, spatial) <= _EVEN_STRIDES for layout in dense]
        if fits[0] != fits[1]:
            yield from (first, last) if fits[0] else (last, first)
        elif _weights_say_last(module, shape):
            yield from (last, first)
        elif fits[0] or _holds(module, _CHANNELS_FIRST) or not _is_attention(shape, spatial, model):
            yield from (first, last)


def _holds(module: nn.Module, kinds: tuple[type, ...]) -> bool:
    return any(isinstance(part, kinds) for part in module.modules())


def _is_attention(shape: tuple[int, ...], spatial: tuple[int, ...], model: nn.Module) -> bool:
    """Whether an axis has the size of a patch grid, as in (n, heads, tokens, width)."""
    grids = list(_patch_grids(model, spatial))
    return any(_known_grid(size, grids) is not None for size in shape[1:])


def _speaks_channels_last(module: nn.Module, shape: tuple[int, ...]) -> bool:
    if isinstance(module, nn.Linear):
        return True
    # subclasses of LayerNorm in vision models permute to channels-first and back
    return type(module) is nn.LayerNorm and module.normalized_shape == (shape[-1],)


def _weights_say_last(module: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether all layers inside are channels-last."""
    speaks_last = any(_speaks_channels_last(part, shape) for part in module.modules())
    return speaks_last and not _holds(module, _CHANNELS_FIRST)


def _unevenness(grid: tuple[int, ...], spatial: tuple[int, ...]) -> float:
    """Log ratio of the strides of the axes, minus what the rounding of one cell explains."""
    if any(cells > 2 * size for cells, size in zip(grid, spatial, strict=True)) or 0 in grid:
        return math.inf
    lowest = [math.log(size / (cells + 1)) for cells, size in zip(grid, spatial, strict=True)]
    highest = [math.log(size / max(cells - 1, 0.5)) for cells, size in zip(grid, spatial, strict=True)]
    return max(0.0, max(lowest) - min(highest))


def _token_layouts(
    shape: tuple[int, ...], *, images: int, spatial: tuple[int, ...], model: nn.Module
) -> Iterator[Layout]:
    grids = list(_patch_grids(model, spatial))
    readings: list[tuple[Kind, int]] = []
    if shape[0] == images:
        readings.append(("tokens", 1))
    if shape[1] == images:
        readings.append(("tokens_first", 0))
    if shape[0] == images:
        readings.append(("channel_tokens", 2))
    known = [(kind, _known_grid(shape[axis], grids)) for kind, axis in readings]
    even = [(kind, _even_grid(shape[axis], spatial)) for kind, axis in readings]
    for kind, grid_and_prefix in known + even:
        if grid_and_prefix is not None:
            yield Layout(kind, *grid_and_prefix)


def _patch_grids(model: nn.Module, spatial: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Yield the grid of each patch embedding, a convolution whose stride is its kernel size, and its halvings."""
    for module in model.modules():
        if not isinstance(module, nn.modules.conv._ConvNd) or len(module.kernel_size) != len(spatial):
            continue
        if module.kernel_size == module.stride and max(module.stride) > 1:
            grid = tuple(size // step for size, step in zip(spatial, module.stride, strict=True))
            for halvings in range(4):
                if all(grid):
                    yield tuple(-(-cells // 2**halvings) for cells in grid)


GridAndPrefix = tuple[tuple[int, ...], int]


def _known_grid(tokens: int, grids: list[tuple[int, ...]]) -> GridAndPrefix | None:
    for grid in grids:
        prefix = tokens - math.prod(grid)
        if math.prod(grid) > 1 and 0 <= prefix <= MOST_PREFIX_TOKENS:
            return grid, prefix
    return None


def _even_grid(tokens: int, spatial: tuple[int, ...]) -> GridAndPrefix | None:
    """Return the grid with equal strides and the fewest prefix tokens."""
    if len(spatial) == 1:
        return (tokens,), 0
    best: GridAndPrefix | None = None
    for cells in range(2, spatial[0] + 1):
        stride = spatial[0] / cells
        grid = tuple(max(1, round(size / stride)) for size in spatial)
        prefix = tokens - math.prod(grid)
        if 0 <= prefix <= MOST_PREFIX_TOKENS and (best is None or prefix < best[1]):
            best = grid, prefix
    return best
