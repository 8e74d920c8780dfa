"""One forward and one backward pass: activations, gradients and scores at the layers asked for.

The model runs without grad up to the earliest wanted layer. There a hook hands on a copy that requires grad,
so only what follows is recorded, and only what follows is walked backwards: no parameter gradients, no graph
before the layer, and it works on frozen models and under no_grad.
"""

from collections.abc import Callable, Mapping, Sequence
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
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import refuse_misread, with_candidates
from camlens.core.gradients.backward import FEW_TARGETS, as_they_come, gradients_of, one_by_one
from camlens.core.layers import LayerCall, checked_model, resolve_layer
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.targets import Output, Scorer, as_target
from camlens.core.types import Features, Scores, precise


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """What one layer gave: features (n, k, *grid), their gradients per target, and how they were laid out."""

    layer: LayerCall
    layout: Layout
    activations: Features
    gradients: Float[Tensor, "n t k *grid"]
    native: Tensor

    def without_gradients(self) -> "LayerRecord":
        """The same with gradients of no target (n, 0, k, *grid)."""
        return replace(self, gradients=self.gradients.new_empty(self.gradients[:, :0].shape))


MANY_BYTES = 128 * 2**20  # of gradients: fewer are read sooner all at once, after the backward pass
Take = Callable[[LayerRecord], Any]


@dataclass(frozen=True, eq=False)
class Capture:
    """What one pass saw: records by layer label in the order the layers ran, scores (n, t) and logits.

    `recording` holds what came before the layer, where that was asked for. `taken` holds what a `take` made of each
    layer's gradients, in pieces along the targets; the records are then without them.
    """

    records: Mapping[str, LayerRecord]
    scores: Scores
    logits: Float[Tensor, "n classes"] | None
    scorer: Scorer
    recording: Recording | None = None
    taken: Mapping[str, Sequence[Any]] = field(default_factory=dict)

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
    """A forward pass with its graph still alive: what the layers gave, and the output to score."""

    kept: dict[str, Tensor]
    output: Output
    recording: Recording | None = None
    places: Mapping[str, int] = field(default_factory=dict)


def _forward(
    session: Session, layers: Sequence[LayerCall], *, through_no_grad: bool = False, recorded: bool = False
) -> ForwardPass:
    """Run the session once and keep what the layers give. To be called inside `undisturbed`.

    `through_no_grad` also records where the model's own code says no_grad; it costs a Python call per
    operation, so it is the second try. `recorded` keeps what comes before the first of the layers as well.
    """
    modules = list({id(layer.module): layer.module for layer in layers}.values())
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
    take: Take | None = None,
) -> Capture:
    """What `capture` does, for layers that are resolved and, where `scorer` is given, targets that are settled.

    `rows` (n,) says which of the scorer's images each input belongs to, `recorded` that what comes before the
    first of the layers shall be kept, for a single image. `take` is given each layer's record as soon as its
    gradients are there, one or more targets at a time, and no gradient is kept.
    """
    with undisturbed(session.model, session.inputs.device, session.modules):
        captured = despite_writing(lambda: _captured(session, layers, target, kind, scorer, rows, recorded, take))
        if scorer is None:
            layouts = {record.layer: record.layout for record in captured.records.values()}
            refuse_misread(session, layouts, target, kind=kind)
        return captured


@dataclass
class _Taking:
    """Gives each layer's record to `take` while the backward pass goes on, and keeps it without its gradients."""

    names: Sequence[str]
    record: Callable[[str, Tensor | None], LayerRecord]
    take: Take
    records: dict[str, LayerRecord] = field(default_factory=dict)
    taken: dict[str, list[Any]] = field(default_factory=dict)
    telling: set[str] = field(default_factory=set)

    def see(self, place: int, gradient: Tensor) -> None:
        name = self.names[place]
        one = self.record(name, gradient[None])
        self.taken.setdefault(name, []).append(self.take(one))
        self.records[name] = one.without_gradients()
        if not _is_zero(one.gradients):
            self.telling.add(name)

    def is_complete(self, targets: int) -> bool:
        """Whether each layer has had a gradient of each target, not all of them zero."""
        return len(self.telling) == len(self.names) and all(len(one) == targets for one in self.taken.values())


def _captured(
    session: Session,
    layers: Sequence[LayerCall],
    target: object,
    kind: Kind | None,
    scorer: Scorer | None,
    rows: Tensor | None,
    recorded: bool,
    take: Take | None,
) -> Capture:
    passed, scorer, scores = pass_with_grad(session, layers, target, scorer, rows, recorded)
    by_label = {layer.label: layer for layer in layers}
    names, kept = list(passed.kept), list(passed.kept.values())
    classes = scorer.classes if scorer.plain else None
    classes = classes if classes is None or rows is None else classes[rows]

    def record(name: str, gradient: Tensor | None) -> LayerRecord:
        found = _record(session, by_label[name], passed.kept[name].detach(), gradient, kind)
        return replace(found, layout=replace(found.layout, place=passed.places[name]))

    targets = scores.shape[1]
    size = targets * sum(tensor.numel() * tensor.element_size() for tensor in kept)
    streams = targets <= FEW_TARGETS and size >= MANY_BYTES
    taking = _Taking(names, record, take) if take is not None and streams else None
    if taking is not None:
        as_they_come(scores, kept, passed.output, classes, taking.see)
    records: dict[str, LayerRecord]
    taken: dict[str, list[Any]]
    if taking is not None and taking.is_complete(targets):
        records, taken = {name: taking.records[name] for name in names}, taking.taken
    else:  # which also says what is wrong with a layer that has no gradient
        gradients = gradients_of(scores, kept, passed.output, classes)
        records = {name: record(name, one) for name, one in zip(names, gradients, strict=True)}
        for one in records.values():
            _check_evidence(session, one, scorer)
        taken = {} if take is None else {name: [take(one)] for name, one in records.items()}
        if take is not None:
            records = {name: one.without_gradients() for name, one in records.items()}
    logits = passed.output.logits_or_none()
    return Capture(
        records,
        precise(scores.detach()),
        None if logits is None else precise(logits.detach()),
        scorer,
        passed.recording,
        taken,
    )


def score_session(session: Session, target: object = None) -> Capture:
    """Scores and logits of a session with no layer looked at: one forward pass without grad."""
    with undisturbed(session.model, session.inputs.device):
        output = session.run()
        scorer = as_target(target).settle(output)
        scores = scorer(output, torch.arange(session.images, device=session.inputs.device))
        logits = output.logits_or_none()
        return Capture({}, precise(scores.detach()), None if logits is None else precise(logits.detach()), scorer)


def scores_with_graph(session: Session, scorer: Scorer, rows: Tensor, *, through_no_grad: bool = False) -> Tensor:
    """Scores (m, t) with the graph back to the session's inputs. To be called inside `undisturbed`.

    `through_no_grad` has the graph even where the model's own code says no_grad, from the first try on: for
    those who hang hooks on what the layers return.
    """
    if session.inputs.is_inference():  # which autograd cannot save; a copy made in here is a normal tensor
        session = replace(session, inputs=session.inputs.clone())
    kept_on = GradKeptOn(Frontier((), started=True))
    for mode in (kept_on,) if through_no_grad else (nullcontext(), kept_on):
        with torch.enable_grad(), mode:
            scores = scorer(session.run(), rows)
        if not session.inputs.requires_grad or _depends(scores, session.inputs):
            return scores
    raise NoGradientError("No gradients captured. The score does not depend on the inputs", code="input.no-gradient")


def _depends(scores: Tensor, inputs: Tensor) -> bool:
    """Whether the graph of the scores leads to the inputs: weights that require grad have a graph as well."""
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
    """Scores (m, t) and their gradients (m, t, c, *spatial) at the inputs. To be called inside `undisturbed`."""
    inputs = session.inputs.detach().clone().requires_grad_()

    def run() -> tuple[Tensor, Tensor | None]:
        scores = scores_with_graph(replace(session, inputs=inputs), scorer, rows)
        return scores, one_by_one(scores, [inputs])[0]

    scores, gradients = despite_writing(run)
    if gradients is None:
        gradients = inputs.new_zeros(scores.shape[1], *inputs.shape)
    return precise(scores.detach()), precise(gradients.transpose(0, 1))


def pass_with_grad(
    session: Session,
    layers: Sequence[LayerCall],
    target: object = None,
    scorer: Scorer | None = None,
    rows: Tensor | None = None,
    recorded: bool = False,
) -> tuple[ForwardPass, Scorer, Tensor]:
    """A forward pass, its scorer and its scores (n, t), with the graph back to the layers.

    To be called inside `undisturbed`. Raises NoGradientError where the score does not depend on the layers.
    """
    for through_no_grad in (False, True):
        passed = _forward(session, layers, through_no_grad=through_no_grad, recorded=recorded)
        everyone = torch.arange(session.images, device=session.inputs.device) if rows is None else rows
        with torch.enable_grad():
            scorer = as_target(target).settle(passed.output) if scorer is None else scorer
            scores = scorer(passed.output, everyone)
        if scores.requires_grad:
            return passed, scorer, scores
    raise NoGradientError(
        f"{NO_GRADIENTS} The score does not depend on {', '.join(repr(layer.label) for layer in layers)}",
        code="layer.no-gradient",
        layers=[layer.label for layer in layers],
    )


def _record(
    session: Session, layer: LayerCall, kept: Tensor, gradient: Tensor | None, kind: Kind | None
) -> LayerRecord:
    if gradient is None:
        raise NoGradientError(
            f"{NO_GRADIENTS} Layer {layer.label!r} ran, but the score does not depend on it",
            code="layer.no-gradient",
            layer=layer.label,
        )
    try:
        layout = find_layout(
            layer.module, kept, images=session.images, spatial=session.spatial, model=session.model, kind=kind
        )
    except LayerError as error:
        raise LayerError(
            f"layer {layer.label!r} has no spatial grid: {error}", code="layer.no-grid", layer=layer.label
        ) from None
    gradients = layout.every_features(gradient).transpose(0, 1)
    return LayerRecord(layer, layout, precise(layout.features(kept)), precise(gradients), kept)


def _check_evidence(session: Session, record: LayerRecord, scorer: Scorer) -> None:
    """Raise a NoGradientError if all gradients are zero, and would be for other images and other classes as well.

    An image that is dead at the layer, or a contrast that cancels, has a map: it is zero everywhere.
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
                passed, _, scores = pass_with_grad(replace(first, inputs=inputs), [record.layer], None, asked, row)
                (kept,) = passed.kept.values()
                with torch.enable_grad():
                    total = scores.sum()
                (gradient,) = torch.autograd.grad(total, kept, allow_unused=True)
                if gradient is not None and record.layout.features(gradient).any():
                    return True
    return False


def _is_zero(gradients: Tensor) -> bool:
    """Whether every value is exactly zero. One channel of one image is read first: it nearly always says no."""
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

    inputs (n, c, *spatial) floating; layers a name, a module or several; targets as in `explain`. The model
    is left bit for bit as it was. Raises LayerError for a layer that cannot carry a map and NoGradientError
    for one that does not feed the score.
    """
    given = checked_model(model)
    wanted = [layers] if isinstance(layers, str | nn.Module) else list(layers)
    inner = fit_for_autograd(given)
    session = Session(inner, checked_inputs(inputs), tuple(args), dict(kwargs or {}), output)
    resolved = [resolve_layer(given, layer) for layer in wanted]
    if inner is not given:
        resolved = [resolve_layer(inner, layer.label) for layer in resolved]
    try:
        return capture_session(session, resolved, targets, kind=layout)
    except LayerError as error:
        raise with_candidates(error, session, targets, kind=layout) from error
