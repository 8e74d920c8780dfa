"""Activations, gradients and scores at the layers asked for, from one forward and one backward pass.

The model runs without grad up to the earliest wanted layer. A hook there hands on a copy that requires grad, so
only what follows is recorded and walked backwards: no gradients of parameters, and no graph before the layer. It
works on frozen models and under no_grad.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.errors import LayerError, NoGradientError
from camlens.core.execution.frontier import NO_GRADIENTS, Frontier, GradKeptOn
from camlens.core.execution.harmless import Guard
from camlens.core.execution.hooks import fit_for_autograd, observed
from camlens.core.execution.locality import altered
from camlens.core.execution.replay import Recording
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import refuse_misread, with_candidates
from camlens.core.gradients.backward import gradients_of, one_by_one
from camlens.core.layers import LayerCall, checked_model, resolve_layers
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.targets import Output, Rows, Scorer, as_target
from camlens.core.types import Features, Scores, precise


@dataclass(frozen=True, eq=False)
class Request:
    """What to compute in one pass through the model.

    Attributes:
        layers: the layers to record. Without any, there is no backward pass.
        target: what to score, as in `explain`; not used if there is a scorer.
        scorer: the scores of a target that is settled already, on the images `rows` (default: the inputs).
        kind: the layout of the layers' outputs (default: detected).
        recorded: whether to keep what the modules before the layer return, for a single layer and image.
    """

    layers: Sequence[LayerCall] = ()
    target: object = None
    scorer: Scorer | None = None
    rows: Tensor | None = None
    kind: Kind | None = None
    recorded: bool = False

    def settled(self, output: Output) -> Scorer:
        """The scorer, which fixes the classes of the target by this output if it is not settled already."""
        return as_target(self.target).settle(output) if self.scorer is None else self.scorer


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """One layer's features (n, k, *grid), their gradients per target, and its output `native` with its layout."""

    layer: LayerCall
    layout: Layout
    activations: Features
    gradients: Float[Tensor, "n t k *grid"]
    native: Tensor


@dataclass(frozen=True, eq=False)
class Capture:
    """Records by layer label in the order in which the layers ran, scores (n, t) and logits.

    `recording` holds what the modules before the layer returned, if that was asked for.
    """

    records: Mapping[str, LayerRecord]
    scores: Scores
    logits: Float[Tensor, "n classes"] | None
    scorer: Scorer
    recording: Recording | None = None

    @property
    def activations(self) -> dict[str, Tensor]:
        """Features (n, k, *grid) by layer."""
        return {name: record.activations for name, record in self.records.items()}

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradients (n, t, k, *grid) by layer."""
        return {name: record.gradients for name, record in self.records.items()}


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """A forward pass: the layers' outputs by label, the model's output, and the scores (n, t) with their graph."""

    kept: Mapping[str, Tensor]
    places: Mapping[str, int]
    output: Output
    scorer: Scorer
    scores: Tensor
    recording: Recording | None = None


def forward_pass(guard: Guard, session: Session, request: Request) -> ForwardPass:
    """Run the model, with the graph from the layers to the scores if there are layers.

    What the model's own code runs under no_grad is recorded in a second attempt, because that costs a Python call per
    operation. Raises NoGradientError if the score does not depend on the layers.
    """
    for mode in (None, GradKeptOn):
        frontier, output, recording = _forward(guard, session, request, mode)
        with torch.set_grad_enabled(bool(request.layers)):
            scorer = request.settled(output)
            scores = scorer(output, request.rows)
        if scores.requires_grad or not request.layers:
            return ForwardPass(frontier.kept, frontier.places, output, scorer, scores, recording)
    raise NoGradientError(
        f"{NO_GRADIENTS} The score does not depend on {', '.join(repr(layer.label) for layer in request.layers)}",
        code="layer.no-gradient",
        layers=[layer.label for layer in request.layers],
    )


def _forward(
    guard: Guard, session: Session, request: Request, mode: type[GradKeptOn] | None
) -> tuple[Frontier, Output, Recording | None]:
    """Run the model without grad up to the first layer; again if it writes to a tensor that was kept uncopied."""
    modules = {id(layer.module): layer.module for layer in request.layers}.values()
    for shared in (True, False):
        frontier = Frontier(request.layers, session, shared=shared)
        recording = Recording.before(request.layers[0], session) if request.recorded else None
        listening = observed(modules, frontier.observe) if recording is None else recording.along(frontier.observe)
        with torch.no_grad(), nullcontext() if mode is None else mode(frontier), listening:
            output = session.run(guard)
        frontier.check()
        if not frontier.overwritten():
            break
    return frontier, output, recording


def capture_session(session: Session, request: Request) -> Capture:
    """`capture` for resolved layers; without layers, scores and logits from one forward pass without grad."""
    with session.undisturbed() as guard:
        captured = despite_writing(lambda: _capture(guard, session, request))
        if request.scorer is None:
            layouts = {record.layer: record.layout for record in captured.records.values()}
            refuse_misread(session, layouts, request.target, kind=request.kind)
        return captured


def _capture(guard: Guard, session: Session, request: Request) -> Capture:
    """Run forward and, if there are layers, backward, and arrange the layers' outputs and gradients."""
    passed = forward_pass(guard, session, request)
    logits = passed.output.logits_or_none()
    classes = passed.scorer.classes if passed.scorer.plain else None
    if classes is not None and request.rows is not None:
        classes = classes[request.rows]
    kept = list(passed.kept.values())
    gradients = gradients_of(passed.scores, kept, logits, classes, session.modules) if kept else []
    by_label = {layer.label: layer for layer in request.layers}
    records = {}
    for (name, output), gradient in zip(passed.kept.items(), gradients, strict=True):
        record = _record(session, by_label[name], output.detach(), gradient, request.kind, passed.places[name])
        _check_evidence(guard, session, record, passed.scorer)
        records[name] = record
    detached = None if logits is None else precise(logits.detach())
    return Capture(records, precise(passed.scores.detach()), detached, passed.scorer, passed.recording)


def scores_with_graph(
    guard: Guard, session: Session, scorer: Scorer, rows: Tensor | None = None, *, through_no_grad: bool = False
) -> Tensor:
    """Scores (m, t) with the graph back to the session's inputs.

    `through_no_grad` records what the model's own code runs under no_grad from the first attempt on, for callers
    that hook the layers' outputs.
    """
    if session.inputs.is_inference():  # autograd cannot save an inference tensor; its copy is a normal one
        session = replace(session, inputs=session.inputs.clone())
    kept_on = GradKeptOn(Frontier((), started=True))
    for mode in (kept_on,) if through_no_grad else (nullcontext(), kept_on):
        with torch.enable_grad(), mode:
            scores = scorer(session.run(guard), rows)
        if not session.inputs.requires_grad or _depends(scores, session.inputs):
            return scores
    raise NoGradientError("No gradients captured. The score does not depend on the inputs", code="input.no-gradient")


def _depends(scores: Tensor, inputs: Tensor) -> bool:
    """Whether the graph of the scores leads to the inputs; weights that require grad have a graph as well."""
    waiting, seen = [scores.grad_fn], set[Any]()
    while waiting:
        node: Any = waiting.pop()
        if node is None or node in seen:
            continue
        if node is inputs.grad_fn or getattr(node, "variable", None) is inputs:
            return True
        seen.add(node)
        waiting += [other for other, _ in node.next_functions]
    return False


def gradients_at_inputs(session: Session, scorer: Scorer, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Scores (m, t) and their gradients (m, t, c, *spatial) at the inputs."""

    def run() -> tuple[Tensor, Tensor | None]:
        scores = scores_with_graph(guard, replace(session, inputs=inputs), scorer, rows)
        return scores, one_by_one(scores, [inputs])[0]

    with session.undisturbed() as guard:
        inputs = session.inputs.detach().clone().requires_grad_()
        scores, gradients = despite_writing(run)
        if gradients is None:
            gradients = inputs.new_zeros(scores.shape[1], *inputs.shape)
        return precise(scores.detach()), precise(gradients.transpose(0, 1))


def _record(
    session: Session, layer: LayerCall, native: Tensor, gradient: Tensor | None, kind: Kind | None, place: int
) -> LayerRecord:
    """The record of one layer from its output and the gradients (t, *its shape), or an error if it carries no map."""
    if gradient is None:
        raise NoGradientError(
            f"{NO_GRADIENTS} Layer {layer.label!r} ran, but the score does not depend on it",
            code="layer.no-gradient",
            layer=layer.label,
        )
    layout = _layout(session, layer, native, kind, place)
    gradients = layout.every_features(gradient).transpose(0, 1)
    return LayerRecord(layer, layout, precise(layout.features(native)), precise(gradients), native)


def _layout(session: Session, layer: LayerCall, native: Tensor, kind: Kind | None, place: int) -> Layout:
    try:
        layout = find_layout(
            layer.module, native, images=session.images, spatial=session.spatial, model=session.model, kind=kind
        )
    except LayerError as error:
        raise LayerError(
            f"layer {layer.label!r} has no spatial grid: {error}", code="layer.no-grid", layer=layer.label
        ) from None
    return replace(layout, place=place) if place else layout


def features_of(
    session: Session, layers: Sequence[LayerCall], *, kind: Kind | None = None
) -> dict[str, tuple[Layout, Features]]:
    """The layout and the features (n, k, *grid) of layers by label, from one forward pass without gradients."""
    frontier = Frontier(layers, session, graph=False)
    session.predict([layer.module for layer in layers], frontier.observe)
    frontier.check()
    features = {}
    for layer in layers:
        kept = frontier.kept[layer.label]
        layout = _layout(session, layer, kept, kind, frontier.places[layer.label])
        features[layer.label] = layout, precise(layout.features(kept))
    return features


def _check_evidence(guard: Guard, session: Session, record: LayerRecord, scorer: Scorer) -> None:
    """Raise a NoGradientError if all gradients are zero, also for other images and other classes.

    An image that is dead at the layer, or a contrast that cancels, has a map that is zero everywhere.
    """
    if _is_zero(record.gradients) and not _is_ever_read(guard, session, record, scorer):
        raise NoGradientError(
            f"{NO_GRADIENTS} The gradient at layer {record.layer.label!r} is exactly zero over its whole "
            f"{record.layout} grid: the score reads nothing there, as after a transformer's last attention",
            code="layer.zero-gradient",
            layer=record.layer.label,
        )


def _is_ever_read(guard: Guard, session: Session, record: LayerRecord, scorer: Scorer) -> bool:
    """Whether the layer's grid has a gradient for another score of classes, or for an altered image."""

    def any_class(output: Output, _rows: Rows) -> Tensor:
        logits = output.logits()
        weights = torch.arange(logits.shape[1], device=logits.device).add(1).cos()
        return (logits * weights.to(logits)).sum(dim=1, keepdim=True)

    scorers = [scorer] if scorer.classes is None else [Scorer(any_class, ("any class",)), scorer]
    first = session.part(0, 1)
    row = torch.zeros(1, dtype=torch.long, device=session.inputs.device)
    for inputs in (first.inputs, *altered(first.inputs)):
        for asked in scorers:
            with suppress(NoGradientError):
                request = Request([record.layer], scorer=asked, rows=row)
                passed = forward_pass(guard, replace(first, inputs=inputs), request)
                (kept,) = passed.kept.values()
                with torch.enable_grad():
                    total = passed.scores.sum()
                (gradient,) = torch.autograd.grad(total, kept, allow_unused=True)
                if gradient is not None and record.layout.features(gradient).any():
                    return True
    return False


def _is_zero(gradients: Tensor) -> bool:
    """Whether every value is exactly zero. One channel of one image is read first: it is nearly never zero."""
    if gradients[0, 0, 0].any():
        return False
    for axis, stride in enumerate(gradients.stride()):
        if stride == 0:  # repetitions of an expanded tensor
            gradients = gradients.narrow(axis, 0, 1)
    return not gradients.any()


def capture(
    model: nn.Module,
    inputs: Tensor,
    layers: str | nn.Module | Sequence[str | nn.Module],
    targets: object = None,
    *,
    output: Any = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] | None = None,
    layout: Kind | None = None,
) -> Capture:
    """Activations, gradients and scores of `layers` for `targets`, from one forward and one backward pass.

    `inputs` (n, c, *spatial) are floating, `layers` a name, a module or a list of them, and `targets` as in `explain`.
    The model is left bit for bit as it was. Raises LayerError for a layer that cannot carry a map, and
    NoGradientError for a layer on which the score does not depend.
    """
    given = checked_model(model)
    inner = fit_for_autograd(given)
    session = Session(inner, checked_inputs(inputs), args, dict(kwargs or {}), output)
    resolved = resolve_layers(given, layers, inner)
    try:
        return capture_session(session, Request(resolved, targets, kind=layout))
    except LayerError as error:
        raise with_candidates(error, session, targets, kind=layout) from error
