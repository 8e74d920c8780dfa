"""Test whether a layer's grid is aligned with the input: each half of the grid must react to its half of the input.

A shape alone does not tell a feature map from an attention matrix, from the class scores of many anchors, or from
features of another argument of the model. So one image is changed in each half of each axis. The test is relative:
global attention and pooling spread a change over all cells, but a cell still reacts more to its own half.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from threading import RLock
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from camlens.core.execution.frontier import Frontier
from camlens.core.execution.harmless import Guard
from camlens.core.execution.hooks import observed
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall
from camlens.core.layouts import Kind, Layout, StandIn
from camlens.core.provenance import weights_hash

ELSEWHERE = "it does not change with the inputs: it depends on other arguments, or on weights alone"
NOT_LOCAL = "no spatial grid: its cells do not react to the parts of the input that they would stand for"
_LEAST_ORDER = 0.7  # 0.5 is chance, 1 a grid in which every cell prefers its own half of the input

_lock = RLock()  # reentrant: an interrupted thread may take it again
_Verdicts = dict[tuple[str, Layout], tuple[str, str]]
_known: "WeakKeyDictionary[nn.Module, dict[object, _Verdicts]]" = WeakKeyDictionary()


def objections(session: Session, layouts: Mapping[LayerCall, Layout], *, kind: Kind | None = None) -> dict[str, str]:
    """Return, by label, why the grids of layers are not aligned with the inputs.

    Each model, layer and kind of input is tested once. If the user has chosen the layout, `kind`, only the dependence
    on the inputs is tested, and only if the model has further arguments.
    """
    asked = {
        layer: layout
        for layer, layout in layouts.items()
        if not isinstance(layer.module, StandIn) and (kind is None or session.args or session.kwargs)
    }
    case = session.inputs.shape[1:], session.inputs.dtype, session.inputs.device, kind, tuple(map(id, session.modules))
    with _lock:
        known = _known.setdefault(session.model, {}).setdefault(case, {})
    verdicts = {layer: known.get((layer.label, layout)) for layer, layout in asked.items()}
    valid = {""}  # an objection is valid for the weights that it was raised for
    if any(verdict is not None and verdict[0] for verdict in verdicts.values()):
        valid.add(weights_hash(session.model, session.modules))
    fresh = {layer: asked[layer] for layer, verdict in verdicts.items() if verdict is None or verdict[1] not in valid}
    if fresh:
        judged = _judged(session.part(0, 1), fresh, kind)
        weights = weights_hash(session.model, session.modules) if any(judged.values()) else ""
        known.update(
            {(layer.label, fresh[layer]): (reason, weights if reason else "") for layer, reason in judged.items()}
        )
    return {
        layer.label: known[layer.label, layout][0] for layer, layout in asked.items() if known[layer.label, layout][0]
    }


def excuse(session: Session, layer: LayerCall, layout: Layout) -> None:
    """Accept a layer from now on that failed the test alone but has the layout of layers that passed."""
    case = session.inputs.shape[1:], session.inputs.dtype, session.inputs.device, None, tuple(map(id, session.modules))
    with _lock:
        _known.setdefault(session.model, {}).setdefault(case, {})[layer.label, layout] = "", ""


def altered(inputs: Tensor) -> Iterator[Tensor]:
    """Yield other inputs of about the same range."""
    noise, scale = _noise(inputs), _scale(inputs)
    yield -inputs
    yield inputs + scale * noise
    yield scale * (1 + noise)
    yield scale * (noise - 1)


def _noise(inputs: Tensor) -> Tensor:
    return torch.randn(inputs.shape, generator=torch.Generator().manual_seed(0)).to(inputs)


def _scale(inputs: Tensor) -> float:
    spread = float(inputs.float().std()) if inputs.numel() > 1 else 0.0
    return spread or float(inputs.abs().max()) or 1.0


def _judged(session: Session, layouts: Mapping[LayerCall, Layout], kind: Kind | None) -> dict[LayerCall, str]:
    """Return the objection to each layer, or an empty string."""
    layers = list(layouts)
    change = _scale(session.inputs) * (1 + _noise(session.inputs))
    orders: dict[LayerCall, list[float]] = {layer: [] for layer in layers}
    reacts: set[LayerCall] = set()
    moved: set[LayerCall] = set()
    with session.undisturbed() as guard:
        clean = _outputs(guard, session, layers)
        for axis, size in enumerate(session.spatial):
            sides: list[dict[LayerCall, Tensor]] = []
            for start, stop in ((0, size // 2), (size // 2, size)) if size > 1 else ((0, size),):
                inputs = session.inputs.clone()
                inputs.narrow(2 + axis, start, stop - start).add_(change.narrow(2 + axis, start, stop - start))
                outputs = _outputs(guard, replace(session, inputs=inputs), layers)
                sides.append({})
                for layer in layers:
                    before, after = clean.get(layer.label), outputs.get(layer.label)
                    if before is None or after is None or before.shape != after.shape:
                        moved.add(layer)
                        continue
                    sides[-1][layer] = _change(layouts[layer], before, after)
                    if sides[-1][layer].any():
                        reacts.add(layer)
            for layer in layers:
                if len(sides) == 2 and all(layer in side for side in sides) and layouts[layer].grid[axis] > 1:
                    orders[layer].append(_order(sides[0][layer], sides[1][layer], axis))
    verdicts = {}
    for layer in layers:
        if layer in moved:
            verdicts[layer] = "no spatial grid: its output has another shape for other images" if kind is None else ""
        elif layer not in reacts:
            verdicts[layer] = ELSEWHERE
        else:
            verdicts[layer] = NOT_LOCAL if kind is None and min(orders[layer], default=1.0) < _LEAST_ORDER else ""
    return verdicts


def _outputs(guard: Guard, session: Session, layers: Sequence[LayerCall]) -> dict[str, Tensor]:
    frontier = Frontier(layers, session, graph=False)
    modules = list({id(layer.module): layer.module for layer in layers}.values())
    with observed(modules, frontier.observe):
        session.run(guard)
    return frontier.kept


def _change(layout: Layout, before: Tensor, after: Tensor) -> Tensor:
    """How much each cell has changed (*grid); zero if it is rounding."""
    change = layout.features((after - before).float()).norm(dim=1)[0].nan_to_num(0, 0, 0)
    rounding = torch.finfo(before.dtype).eps * layout.features(before.float()).norm(dim=1).amax()
    return torch.where(change > rounding, change, 0.0)


def _order(low: Tensor, high: Tensor, axis: int) -> float:
    """How often a cell of the lower half of the grid prefers the lower half of the input more than an upper cell does.

    This is the area under the ROC curve (Mann-Whitney U) of the ratio of the two changes.
    """
    floor = 1e-3 * torch.maximum(low.max(), high.max())
    preference = torch.where(torch.maximum(low, high) > 0, torch.log((low + floor) / (high + floor)), torch.nan)
    half = preference.shape[axis] // 2
    below, above = preference.narrow(axis, 0, half), preference.narrow(axis, preference.shape[axis] - half, half)
    below, above = below[~below.isnan()], above[~above.isnan()].sort().values
    if not len(below) or not len(above):
        return 1.0  # one half of the input has no effect
    wins = torch.searchsorted(above, below) + torch.searchsorted(above, below, right=True)
    return float(wins.double().mean()) / (2 * len(above))
