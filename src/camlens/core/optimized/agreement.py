"""How far two captures of the same images are apart, and how far rounding alone would put them."""

import copy
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from camlens.core.capture import Capture, capture_session
from camlens.core.execution.outputs import map_tensors
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall, resolve_layer
from camlens.core.layouts import Kind


def disagreement(ours: Capture, theirs: Capture) -> float:
    """The largest relative Euclidean distance of logits (or scores), activations and gradients.

    Infinite where a layer is laid out otherwise. Euclidean, because a single activation that rounds to the
    other side of a ReLU changes one gradient completely and the map not at all.
    """
    if any(ours.records[name].layout != record.layout for name, record in theirs.records.items()):
        return float("inf")
    pairs = [(ours.scores, theirs.scores)]
    if ours.logits is not None and theirs.logits is not None:
        pairs.append((ours.logits, theirs.logits))
    for name, record in theirs.records.items():
        pairs.append((ours.records[name].activations, record.activations))
        pairs.append((ours.records[name].gradients, record.gradients))
    distances = [_distance(one, other) for one, other in pairs]
    return max(distance if distance == distance else float("inf") for distance in distances)


def _distance(ours: Tensor, theirs: Tensor) -> float:
    size = float(theirs.double().norm())
    return float((ours.double() - theirs.double()).norm()) / size if size > 0 else float(ours.norm())


def rounding_error(
    session: Session, layers: Sequence[LayerCall], captured: Capture, *, kind: Kind | None = None
) -> float | None:
    """How far the model as it is stands from itself in float64; None where it cannot run in float64."""

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
        exact = capture_session(
            wide, [resolve_layer(model, layer.label) for layer in layers], kind=kind, scorer=captured.scorer
        )
    except (RuntimeError, TypeError, ValueError):
        return None
    return disagreement(captured, exact)
