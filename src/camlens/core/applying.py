"""Applying a method: from what was captured to checked maps, whatever the method is called with."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from camlens.core.capture import LayerRecord, Take
from camlens.core.details import Found
from camlens.core.errors import InputError
from camlens.core.probe import InputProbe, Probe
from camlens.core.registry import Entry

_CHUNK_BYTES = 256 * 2**20


def found_by(entry: Entry, probe: InputProbe | Probe, options: Mapping[str, Any]) -> Found:
    """What a method finds: maps (n, t, *grid), float32 or for float64 inputs float64, with the facts it gave."""
    maps: object
    if entry.needs == "probe" or isinstance(probe, InputProbe):
        maps = entry.function(probe, **options)
    elif entry.needs == "activations":
        shared = entry.function(probe.activations, **options)[:, None]
        maps = shared.expand(-1, probe.scores.shape[1], *shared.shape[2:])
    else:
        made = probe.captured.taken.get(probe.record.layer.label, ())
        pieces = [piece[entry.name] for piece in made] or [_each_target(probe.record, entry, options)]
        maps = pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)
    details = maps.details if isinstance(maps, Found) else {}
    maps = maps.maps if isinstance(maps, Found) else maps
    axes = probe.inputs.ndim if isinstance(probe, InputProbe) else probe.activations.ndim
    dtype = torch.float64 if probe.inputs.dtype == torch.float64 else torch.float32
    return Found(_checked(maps, probe.scores.shape, axes, dtype, entry), details)


def making(methods: Sequence[tuple[Entry, Mapping[str, Any]]]) -> Take | None:
    """What makes the maps of each layer as its gradients come, of these methods with their options.

    None where one of them asks a probe: that may want to see the gradients of any layer.
    """
    if any(entry.scope != "layer" or entry.needs == "probe" for entry, _ in methods):
        return None
    reading = [(entry, options) for entry, options in methods if entry.needs == "gradients"]
    return lambda record: {entry.name: _each_target(record, entry, options) for entry, options in reading}


def _each_target(record: LayerRecord, entry: Entry, options: Mapping[str, Any]) -> Tensor:
    """Maps (n, t, *grid) of a method that takes activations and gradients of one target."""
    activations, gradients = record.activations, record.gradients
    images, targets = gradients.shape[:2]
    if targets <= images:
        each = [entry.function(activations, gradients[:, index], **options) for index in range(targets)]
        if any(not isinstance(one, Tensor) for one in each):
            raise InputError(
                f"method {entry.name!r} must return maps (n, *grid), not {type(each[0]).__name__}",
                code="method.result",
                method=entry.name,
            )
        return each[0][:, None] if targets == 1 else torch.stack(each, dim=1)
    step = max(1, _CHUNK_BYTES // max(1, activations[0].numel() * activations.element_size()))
    rows = []
    for image in range(images):
        starts = range(0, targets, step)
        chunks = [gradients[image, start : start + step] for start in starts]
        one = activations[image : image + 1]
        maps = [entry.function(one.expand(len(chunk), *one.shape[1:]), chunk, **options) for chunk in chunks]
        rows.append(torch.cat(maps))
    return torch.stack(rows)


def _checked(maps: object, expected: torch.Size, axes: int, dtype: torch.dtype, entry: Entry) -> Tensor:
    if not isinstance(maps, Tensor) or maps.shape[:2] != expected or maps.ndim != axes:
        found = tuple(maps.shape) if isinstance(maps, Tensor) else type(maps).__name__
        raise InputError(
            f"method {entry.name!r} must return one map per image and target, {tuple(expected)} and the grid; "
            f"it returned {found}",
            code="method.result",
            method=entry.name,
        )
    return maps.detach().to(dtype).contiguous()
