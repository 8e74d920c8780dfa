"""From signed maps to heat maps in [0, 1]: rectify, normalise, resize. The one place where this happens."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from camlens.core.errors import EvidenceWarning

TargetMaps = Float[Tensor, "n t *grid"]
_MOST_TEXTS = 5
_MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


def rectified(maps: TargetMaps) -> TargetMaps:
    """Only the evidence that speaks for the target: negative values become zero."""
    return maps.clamp_min(0)


def normalised(maps: TargetMaps) -> TargetMaps:
    """Each map minus its minimum, divided by its maximum where that is above zero."""
    cells = maps.flatten(2)
    raised = cells - cells.amin(dim=2, keepdim=True)
    highest = raised.amax(dim=2, keepdim=True)
    says_something = (highest > 0) & (highest < torch.inf)
    return torch.where(says_something, raised / torch.where(says_something, highest, 1), 0).view_as(maps)


def balanced(maps: TargetMaps) -> TargetMaps:
    """Signed maps in [-1, 1] with 0 kept in place: each divided by its magnitude.

    That is the magnitude which only one cell in 200 exceeds, so that a few extreme pixels do not hide all others;
    for maps of fewer than 200 cells it is the highest one.
    """
    magnitudes = maps.abs().flatten(2)
    cells = magnitudes.shape[2]
    scale = magnitudes.kthvalue(cells - cells // 200, dim=2, keepdim=True).values
    scale = torch.where(scale > 0, scale, magnitudes.amax(dim=2, keepdim=True))
    shares = maps.flatten(2) / torch.where(scale > 0, scale, 1)
    return shares.clamp(-1, 1).view_as(maps)


def resized(maps: TargetMaps, size: Sequence[int]) -> Float[Tensor, "n t *size"]:
    """Maps (n, t, *grid) in [-1, 1] at another size, linear along every axis, corners not aligned."""
    if maps.shape[2:] == torch.Size(size):
        return maps.float()
    mode = _MODES[maps.ndim - 2]
    flat = maps.float().flatten(0, 1)[:, None]
    drawn = torch.nn.functional.interpolate(flat, size=tuple(size), mode=mode, align_corners=False)
    return drawn.view(*maps.shape[:2], *size).clamp(-1, 1)


@dataclass(frozen=True)
class EmptyMap:
    """A map whose heat map is empty: which one, and why, as a code and in words."""

    layer: str
    image: int
    target: int
    code: str
    text: str


def empty_maps(maps: TargetMaps, layer: str, labels: Sequence[str], both_signs: Sequence[bool] = ()) -> list[EmptyMap]:
    """The maps that show little. If both signs of a target are shown, evidence against it alone is not empty."""
    empty = []
    ranges = torch.stack(torch.aminmax(maps.flatten(2), dim=2), dim=2).tolist()  # NaN if a cell is
    for image, row in enumerate(ranges):
        for target, (lowest, highest) in enumerate(row):
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
    """One warning for the empty maps of each method, among `count` maps."""
    texts = [one.text if len(empty) == 1 else f"{method}: {one.text}" for method, maps in empty.items() for one in maps]
    more = f"; and {len(texts) - _MOST_TEXTS} more, see provenance['warnings']" if len(texts) > _MOST_TEXTS else ""
    message = texts[0] if len(texts) == 1 else f"{len(texts)} of {count} maps: {'; '.join(texts[:_MOST_TEXTS])}{more}"
    facts = [
        {"method": method, "layer": one.layer, "image": one.image, "target": one.target, "code": one.code}
        for method, maps in empty.items()
        for one in maps
    ]
    return EvidenceWarning(message, maps=facts)
