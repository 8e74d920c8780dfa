"""Activations, gradients and scores at the layers asked for, from one forward and one backward pass.

The model runs without grad up to the earliest wanted layer. A hook there hands on a copy that requires grad, so
only what follows is recorded and walked backwards: no gradients of parameters, and no graph before the layer. It
works on frozen models and under no_grad.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from camlens.core.errors import LayerError, NoGradientError
from camlens.core.execution.frontier import NO_GRADIENTS, Frontier, GradKeptOn
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.hooks import fit_for_autograd, observed
from camlens.core.execution.locality import altered
from camlens.core.execution.replay import Recording
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.execution.survey import refuse_misread, with_candidates
from camlens.core.gradients.backward import gradients_of, one_by_one
from camlens.core.layers import LayerCall, checked_model, resolve_layer
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.targets import Output, Scorer, as_target
from camlens.core.types import Features, Scores, precise


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
    """A forward pass with its graph: the layers' outputs by label, and the output to score."""

    kept: dict[str, Tensor]
    output: Output
    recording: Recording | None = None
    places: Mapping[str, int] = field(default_factory=dict)


def _forward(session: Session, layers: Sequence[LayerCall], *, through_no_grad: bool, recorded: bool) -> ForwardPass:
    """Run the session once and keep the layers' outputs. Must be called inside `undisturbed`.

    `through_no_grad` also records what the model's own code runs under no_grad. It costs a Python call per operation,
    so it is the second attempt. `recorded` also keeps what the modules before the first layer return.
    """
    modules = {id(layer.module): layer.module for layer in layers}.values()
    for shared in (True, False):
        frontier = Frontier(layers, session, shared=shared)
        mode = GradKeptOn(frontier) if through_no_grad else nullcontext()
        recording = Recording.before(layers[0], session) if recorded else None
        listening = observed(modules, frontier.observe) if recording is None else recording.along(frontier.observe)
        with torch.no_grad(), mode, listening:
            output = session.run()
        frontier.check()
        if not frontier.overwritten():
            break
    return ForwardPass(frontier.kept, output, recording, frontier.places)


def capture_session(
    session: Session,
    layers: Sequence[LayerCall],
    target: object = None,
    *,
    kind: Kind | None = None,
    scorer: Scorer | None = None,
    rows: Tensor | None = None,
    recorded: bool = False,
) -> Capture:
    """`capture` for resolved layers and, if `scorer` is given, settled targets.

    `rows` (n,) are the scorer's images that the inputs belong to. `recorded` keeps what comes before the first
    layer, for a single image.
    """

    def run() -> Capture:
        passed, settled, scores = pass_with_grad(session, layers, target, scorer=scorer, rows=rows, recorded=recorded)
        classes = settled.classes if settled.plain else None
        if classes is not None and rows is not None:
            classes = classes[rows]
        logits = passed.output.logits_or_none()
        gradients = gradients_of(scores, list(passed.kept.values()), logits, classes, session.modules)
        by_label = {layer.label: layer for layer in layers}
        records = {
            name: _record(session, by_label[name], kept.detach(), gradient, kind, passed.places[name])
            for (name, kept), gradient in zip(passed.kept.items(), gradients, strict=True)
        }
        for record in records.values():
            _check_evidence(session, record, settled)
        detached = None if logits is None else precise(logits.detach())
        return Capture(records, precise(scores.detach()), detached, settled, passed.recording)

    with undisturbed(session.model, session.inputs.device, session.modules):
        captured = despite_writing(run)
        if scorer is None:
            layouts = {record.layer: record.layout for record in captured.records.values()}
            refuse_misread(session, layouts, target, kind=kind)
        return captured


def score_session(session: Session, target: object = None) -> Capture:
    """Scores and logits of a session without looking at a layer: one forward pass without grad."""
    with undisturbed(session.model, session.inputs.device):
        output = session.run()
        scorer = as_target(target).settle(output)
        scores = scorer(output, torch.arange(session.images, device=session.inputs.device))
        logits = output.logits_or_none()
        return Capture({}, precise(scores.detach()), None if logits is None else precise(logits.detach()), scorer)


def scores_with_graph(session: Session, scorer: Scorer, rows: Tensor, *, through_no_grad: bool = False) -> Tensor:
    """Scores (m, t) with the graph back to the session's inputs. Must be called inside `undisturbed`.

    `through_no_grad` records what the model's own code runs under no_grad from the first attempt on, for callers
    that hook the layers' outputs.
    """
    if session.inputs.is_inference():  # autograd cannot save an inference tensor; its copy is a normal one
        session = replace(session, inputs=session.inputs.clone())
    kept_on = GradKeptOn(Frontier((), started=True))
    for mode in (kept_on,) if through_no_grad else (nullcontext(), kept_on):
        with torch.enable_grad(), mode:
            scores = scorer(session.run(), rows)
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


def gradients_at_inputs(session: Session, scorer: Scorer, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (m, t) and their gradients (m, t, c, *spatial) at the inputs."""

    def run() -> tuple[Tensor, Tensor | None]:
        scores = scores_with_graph(replace(session, inputs=inputs), scorer, rows)
        return scores, one_by_one(scores, [inputs])[0]

    with undisturbed(session.model, session.inputs.device, session.modules):
        inputs = session.inputs.detach().clone().requires_grad_()
        scores, gradients = despite_writing(run)
        if gradients is None:
            gradients = inputs.new_zeros(scores.shape[1], *inputs.shape)
        return precise(scores.detach()), precise(gradients.transpose(0, 1))


def pass_with_grad(
    session: Session,
    layers: Sequence[LayerCall],
    target: object = None,
    *,
    scorer: Scorer | None = None,
    rows: Tensor | None = None,
    recorded: bool = False,
) -> tuple[ForwardPass, Scorer, Tensor]:
    """Run forward: the pass, its scorer, and the scores (n, t) with the graph back to the layers.

    Must be called inside `undisturbed`. Raises NoGradientError if the score does not depend on the layers.
    """
    rows = torch.arange(session.images, device=session.inputs.device) if rows is None else rows
    for through_no_grad in (False, True):
        passed = _forward(session, layers, through_no_grad=through_no_grad, recorded=recorded)
        with torch.enable_grad():
            scorer = as_target(target).settle(passed.output) if scorer is None else scorer
            scores = scorer(passed.output, rows)
        if scores.requires_grad:
            return passed, scorer, scores
    raise NoGradientError(
        f"{NO_GRADIENTS} The score does not depend on {', '.join(repr(layer.label) for layer in layers)}",
        code="layer.no-gradient",
        layers=[layer.label for layer in layers],
    )


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
    try:
        layout = find_layout(
            layer.module, native, images=session.images, spatial=session.spatial, model=session.model, kind=kind
        )
    except LayerError as error:
        raise LayerError(
            f"layer {layer.label!r} has no spatial grid: {error}", code="layer.no-grid", layer=layer.label
        ) from None
    if place:
        layout = replace(layout, place=place)
    gradients = layout.every_features(gradient).transpose(0, 1)
    return LayerRecord(layer, layout, precise(layout.features(native)), precise(gradients), native)


def _check_evidence(session: Session, record: LayerRecord, scorer: Scorer) -> None:
    """Raise a NoGradientError if all gradients are zero, also for other images and other classes.

    An image that is dead at the layer, or a contrast that cancels, has a map that is zero everywhere.
    """
    if _is_zero(record.gradients) and not _is_ever_read(session, record, scorer):
        raise NoGradientError(
            f"{NO_GRADIENTS} The gradient at layer {record.layer.label!r} is exactly zero over its whole "
            f"{record.layout} grid: the score reads nothing there, as after a transformer's last attention",
            code="layer.zero-gradient",
            layer=record.layer.label,
        )


def _is_ever_read(session: Session, record: LayerRecord, scorer: Scorer) -> bool:
    """Whether the layer's grid has a gradient for another score of classes, or for an altered image."""

    def any_class(output: Output, _rows: Tensor) -> Tensor:
        logits = output.logits()
        weights = torch.arange(logits.shape[1], device=logits.device).add(1).cos()
        return (logits * weights.to(logits)).sum(dim=1, keepdim=True)

    scorers = [scorer] if scorer.classes is None else [Scorer(any_class, ("any class",)), scorer]
    first = session.part(0, 1)
    row = torch.zeros(1, dtype=torch.long, device=session.inputs.device)
    for inputs in (first.inputs, *altered(first.inputs)):
        for asked in scorers:
            with suppress(NoGradientError):
                altered_session = replace(first, inputs=inputs)
                passed, _, scores = pass_with_grad(altered_session, [record.layer], scorer=asked, rows=row)
                (kept,) = passed.kept.values()
                with torch.enable_grad():
                    total = scores.sum()
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
    wanted = [layers] if isinstance(layers, str | nn.Module) else list(layers)
    inner = fit_for_autograd(given)
    session = Session.of(inner, inputs, args=args, kwargs=kwargs, output=output)
    resolved = [resolve_layer(given, layer) for layer in wanted]
    if inner is not given:
        resolved = [resolve_layer(inner, layer.label) for layer in resolved]
    try:
        return capture_session(session, resolved, targets, kind=layout)
    except LayerError as error:
        raise with_candidates(error, session, targets, kind=layout) from error
