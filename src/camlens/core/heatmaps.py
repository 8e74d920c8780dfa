"""Conversion of signed maps to heat maps in [0, 1]: rectify, normalize and resize."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import EvidenceWarning, LayerError

TargetMaps = Float[Tensor, "n t *grid"]
_MOST_TEXTS = 5
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def rectified(maps: TargetMaps) -> TargetMaps:
    """Set negative values, the evidence against the target, to zero."""
    return maps.clamp_min(0)


def normalized(maps: TargetMaps) -> TargetMaps:
    """Subtract the minimum of each map and divide by its maximum, unless that is zero or infinite."""
    cells = maps.flatten(2)
    raised = cells - cells.amin(dim=2, keepdim=True)
    highest = raised.amax(dim=2, keepdim=True)
    scalable = (highest > 0) & (highest < torch.inf)
    return torch.where(scalable, raised / torch.where(scalable, highest, 1), 0).view_as(maps)


def balanced(maps: TargetMaps) -> TargetMaps:
    """Scale signed maps to [-1, 1]; zero stays zero.

    The scale is the magnitude that 1 in 200 cells exceeds, so that a few extreme cells do not hide all others. For maps
    of fewer than 200 cells it is the maximum.
    """
    magnitudes = maps.abs().flatten(2)
    cells = magnitudes.shape[2]
    scale = magnitudes.kthvalue(cells - cells // 200, dim=2, keepdim=True).values
    scale = torch.where(scale > 0, scale, magnitudes.amax(dim=2, keepdim=True))
    shares = maps.flatten(2) / torch.where(scale > 0, scale, 1)
    return shares.clamp(-1, 1).view_as(maps)


def interpolated(
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
    return torch.nn.functional.interpolate(maps, tuple(size), mode=_MODES[axes], align_corners=align_corners)


def resized(maps: TargetMaps, size: Sequence[int]) -> Float[Tensor, "n t *size"]:
    """Resize maps in [-1, 1] linearly along every axis, with align_corners=False."""
    return interpolated(maps.float(), size).clamp(-1, 1)


@dataclass(frozen=True)
class EmptyMap:
    """A map whose heat map is empty, with the reason as a code and a text."""

    layer: str
    image: int
    target: int
    code: str
    text: str


def empty_maps(maps: TargetMaps, layer: str, labels: Sequence[str], both_signs: Sequence[bool] = ()) -> list[EmptyMap]:
    """List the maps with an empty heat map. Negative maps are not empty if both signs of the target are shown."""
    empty = []
    cells = maps.flatten(2)  # the extremes are NaN if a cell is
    for image, extremes in enumerate(zip(cells.amin(dim=2).tolist(), cells.amax(dim=2).tolist(), strict=True)):
        for target, (lowest, highest) in enumerate(zip(*extremes, strict=True)):
            if not (math.isfinite(lowest) and math.isfinite(highest)):
                code, fault = "map.not-finite", "holds NaN or infinite values"
            elif highest == lowest:
                code, fault = "map.constant", f"is constant ({highest:.3g} everywhere)"
            elif highest <= 0 and not any(both_signs[target : target + 1]):
                code, fault = "map.negative", f"has only negative evidence (highest value {highest:.3g})"
            else:
                continue
            text = f"the map of image {image} for {labels[target]} at layer {layer!r} {fault}: its heat map is empty"
            empty.append(EmptyMap(layer, image, target, code, text))
    return empty


def evidence_warning(empty: Mapping[str, Sequence[EmptyMap]], count: int) -> EvidenceWarning:
    """Return a warning about the empty maps of each method, among `count` maps."""
    prefixes = {method: "" if len(empty) == 1 else f"{method}: " for method in empty}
    texts = [f"{prefixes[method]}{entry.text}" for method, entries in empty.items() for entry in entries]
    more = f"; and {len(texts) - _MOST_TEXTS} more, see provenance['warnings']" if len(texts) > _MOST_TEXTS else ""
    message = texts[0] if len(texts) == 1 else f"{len(texts)} of {count} maps: {'; '.join(texts[:_MOST_TEXTS])}{more}"
    facts = [
        {"method": method, "layer": entry.layer, "image": entry.image, "target": entry.target, "code": entry.code}
        for method, entries in empty.items()
        for entry in entries
    ]
    return EvidenceWarning(message, maps=facts)
