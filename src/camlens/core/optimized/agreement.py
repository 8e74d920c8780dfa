"""Distance of two captures of the same images, and the distance due to rounding alone."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from camlens.core.capture import Capture, Request, capture_session
from camlens.core.execution.outputs import map_tensors
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall, resolve_layer
from camlens.core.layouts import Kind


def disagreement(ours: Capture, theirs: Capture) -> float:
    """Return the largest relative Euclidean distance of scores, logits, activations and gradients.

    Infinite if the layout of a layer differs. The distance is Euclidean, because an activation that is rounded to the
    other side of a ReLU changes a single gradient completely and the map hardly.
    """
    if any(ours.records[name].layout != record.layout for name, record in theirs.records.items()):
        return float("inf")
    pairs = [(ours.scores, theirs.scores)]
    if ours.logits is not None and theirs.logits is not None:
        pairs.append((ours.logits, theirs.logits))
    for name, record in theirs.records.items():
        pairs.append((ours.records[name].activations, record.activations))
        pairs.append((ours.records[name].gradients, record.gradients))
    distances = [_distance(*pair) for pair in pairs]
    return max(distance if distance == distance else float("inf") for distance in distances)


def _distance(ours: Tensor, theirs: Tensor) -> float:
    size = float(theirs.double().norm())
    return float((ours.double() - theirs.double()).norm()) / size if size > 0 else float(ours.norm())


def rounding_error(
    session: Session, layers: Sequence[LayerCall], captured: Capture, *, kind: Kind | None = None
) -> float | None:
    """Return the distance of the model to itself in float64, or None if it cannot run in float64."""

    def widened(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    try:
        model = copy.deepcopy(session.model).double()
        wide = replace(
            session,
            model=model,
            inputs=session.inputs.double(),
            args=map_tensors(session.args, widened),
            kwargs=map_tensors(dict(session.kwargs), widened),
        )
        wanted = [resolve_layer(model, layer.label) for layer in layers]
        exact = capture_session(wide, Request(wanted, scorer=captured.scorer, kind=kind))
    except (RuntimeError, TypeError, ValueError):
        return None
    return disagreement(captured, exact)
