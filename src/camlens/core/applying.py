"""Application of a method to a capture, with checks of its result."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from camlens.core.capture import LayerRecord
from camlens.core.details import Found
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe, Probe
from camlens.core.registry import Entry
from camlens.core.targets import Scorer

_CHUNK_BYTES = 256 * 2**20


def apply(entry: Entry, probe: InputProbe | Probe, options: Mapping[str, Any]) -> tuple[Tensor, dict[str, Any]]:
    """Return the maps (n, t, *grid) and details of a method; maps are float64 for float64 inputs, else float32.

    The map for the contrast of a class with itself is zero.
    """
    maps: object
    if entry.needs == "probe" or isinstance(probe, InputProbe):
        maps = entry.function(probe, **options)
    elif entry.needs == "activations":
        shared = entry.function(probe.activations, **options)[:, None]
        maps = shared.expand(-1, probe.scores.shape[1], *shared.shape[2:])
    else:
        maps = _each_target(probe.record, entry, options)
    details = maps.details if isinstance(maps, Found) else {}
    axes = probe.inputs.ndim if isinstance(probe, InputProbe) else probe.activations.ndim
    checked = _checked(maps.maps if isinstance(maps, Found) else maps, probe.scores.shape, axes, entry)
    dtype = torch.float64 if probe.inputs.dtype == torch.float64 else torch.float32
    settled = {name: value.detach() if isinstance(value, Tensor) else value for name, value in details.items()}
    return _without_ties(checked.detach().to(dtype).contiguous(), probe.captured.scorer), settled


def _each_target(record: LayerRecord, entry: Entry, options: Mapping[str, Any]) -> Tensor:
    """Apply a method of activations and gradients to every target; return maps (n, t, *grid)."""
    activations, gradients = record.activations, record.gradients
    images, targets = gradients.shape[:2]
    if targets <= images:
        columns = [entry.function(activations, gradients[:, index], **options) for index in range(targets)]
        if any(not isinstance(column, Tensor) for column in columns):
            raise InputError(
                f"method {entry.name!r} must return maps (n, *grid), not {type(columns[0]).__name__}",
                code="method.result",
                method=entry.name,
            )
        return columns[0][:, None] if targets == 1 else torch.stack(columns, dim=1)
    step = max(1, _CHUNK_BYTES // max(1, activations[0].numel() * activations.element_size()))
    rows = []
    for image in range(images):
        starts = range(0, targets, step)
        chunks = [gradients[image, start : start + step] for start in starts]
        features = activations[image]
        maps = [entry.function(features.expand(len(chunk), *features.shape), chunk, **options) for chunk in chunks]
        rows.append(torch.cat(maps))
    return torch.stack(rows)


def _checked(maps: object, expected: torch.Size, axes: int, entry: Entry) -> Tensor:
    if not isinstance(maps, Tensor) or maps.shape[:2] != expected or maps.ndim != axes:
        returned = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(
            f"method {entry.name!r} must return maps ({', '.join(map(str, expected))}, *grid), not {returned}",
            code="method.result",
            method=entry.name,
        )
    return maps


def _without_ties(maps: Tensor, scorer: Scorer) -> Tensor:
    """The maps (n, t, *grid), set to zero for the contrast of a class with itself."""
    if scorer.against is None or scorer.classes is None:
        return maps
    ties = scorer.classes.to(maps.device) == scorer.against.to(maps.device)
    return maps.masked_fill(ties.view(*ties.shape, *[1] * (maps.ndim - 2)), 0) if ties.any() else maps
