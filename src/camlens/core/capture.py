"""One forward and one backward pass: activations, gradients and scores at the layers asked for.

The model runs without grad up to the earliest wanted layer. There a hook hands on a copy that requires grad,
so only what follows is recorded, and only what follows is walked backwards: no parameter gradients, no graph
before the layer, and it works on frozen models and under no_grad.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from camlens.core.errors import LayerError, NoGradientError
from camlens.core.execution.backward import gradients_of
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.hooks import observed
from camlens.core.execution.outputs import describe, tensors_in, with_first_tensor
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.layers import LayerCall, checked_model, resolve_layer
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.targets import Output, Scorer, as_target
from camlens.core.types import Features, Scores

NO_GRADIENTS = "No gradients captured. Try a different layer."


@dataclass(frozen=True, eq=False)
class LayerRecord:
    """What one layer gave: features (n, k, *grid), their gradients per target, and how they were laid out."""

    layer: LayerCall
    layout: Layout
    activations: Features
    gradients: Float[Tensor, "n t k *grid"]
    native: Tensor


@dataclass(frozen=True, eq=False)
class Capture:
    """What one pass saw: records by layer label in the order the layers ran, scores (n, t) and logits."""

    records: Mapping[str, LayerRecord]
    scores: Scores
    logits: Float[Tensor, "n classes"] | None
    scorer: Scorer

    @property
    def activations(self) -> dict[str, Tensor]:
        """Features (n, k, *grid) by layer."""
        return {name: record.activations for name, record in self.records.items()}

    @property
    def gradients(self) -> dict[str, Tensor]:
        """Gradients (n, t, k, *grid) by layer."""
        return {name: record.gradients for name, record in self.records.items()}


@dataclass
class Frontier:
    """The hook's memory during one forward pass: what each wanted call of each wanted layer returned.

    With `graph` the first kept tensor becomes the leaf where autograd begins; without, only values are kept.
    """

    wanted: Sequence[LayerCall]
    graph: bool = True
    kept: dict[str, Tensor] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    calls: dict[int, int] = field(default_factory=dict)
    started: bool = False

    def observe(self, module: nn.Module, output: Any) -> Any:
        """Keep the output of a wanted call, and hand on a copy that later in-place code may write to."""
        number = self.calls[id(module)] = self.calls.get(id(module), 0) + 1
        for layer in self.wanted:
            if layer.module is module and number == (layer.call or 1):
                output = self._keep(layer, output)
        return output

    def _keep(self, layer: LayerCall, output: Any) -> Any:
        tensor = next(tensors_in(output), None)
        if tensor is None:
            self.failed[layer.label] = f"it returned no tensor but {describe(output)}"
            return output
        if not self.graph:
            self.kept[layer.label] = tensor.detach().clone()
            return output
        with torch.inference_mode(False):
            # a copy that nobody else holds: a node of the graph, or the leaf where the graph begins
            kept = tensor.clone() if tensor.requires_grad else tensor.detach().clone().requires_grad_()
        torch.set_grad_enabled(True)
        self.started = True
        self.kept[layer.label] = kept
        with torch.inference_mode(False):
            handed = kept.clone()
        return with_first_tensor(output, handed)

    def check(self) -> None:
        """Refuse layers that did not run, ran several times, or gave nothing to look at."""
        for layer in self.wanted:
            runs = self.calls.get(id(layer.module), 0)
            if layer.label in self.failed:
                raise LayerError(f"layer {layer.label!r} cannot carry a map: {self.failed[layer.label]}")
            if runs == 0 and not self.graph:
                raise LayerError(f"layer {layer.label!r} did not run in the forward pass: choose one that does")
            if runs == 0:
                raise NoGradientError(f"{NO_GRADIENTS} Layer {layer.label!r} did not run in the forward pass")
            if layer.call is None and runs > 1:
                names = ", ".join(f"{layer.name}#{number}" for number in range(1, min(runs, 4) + 1))
                raise LayerError(f"layer {layer.name!r} ran {runs} times in one forward pass: say which call, {names}")
            if layer.label not in self.kept:
                raise LayerError(f"layer {layer.name!r} ran {runs} time(s), so there is no call {layer.call}")


class _GradKeptOn(TorchFunctionMode):
    """Once the frontier is passed, keep grad on even where the model's own code switches it off."""

    def __init__(self, frontier: Frontier) -> None:
        super().__init__()
        self.frontier = frontier

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.frontier.started:
            return func(*args, **(kwargs or {}))
        with torch.inference_mode(False), torch.enable_grad():
            return func(*args, **(kwargs or {}))


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """A forward pass with its graph still alive: what the layers gave, and the output to score."""

    kept: dict[str, Tensor]
    output: Output


def forward(session: Session, layers: Sequence[LayerCall], *, through_no_grad: bool = False) -> ForwardPass:
    """Run the session once and keep what the layers give. To be called inside `undisturbed`.

    `through_no_grad` also records where the model's own code says no_grad; it costs a Python call per
    operation, so it is the second try.
    """
    frontier = Frontier(layers)
    modules = list({id(layer.module): layer.module for layer in layers}.values())
    mode = _GradKeptOn(frontier) if through_no_grad else nullcontext()
    with torch.no_grad(), mode, observed(modules, frontier.observe):
        output = session.run()
    frontier.check()
    ran = [layer.label for layer in layers if layer.label in frontier.kept]
    ordered = [name for name in frontier.kept if name in ran]
    return ForwardPass({name: frontier.kept[name] for name in ordered}, output)


def scored(passed: ForwardPass, scorer: Scorer, rows: Tensor) -> Tensor:
    """Scores (m, t) of a forward pass, with the graph back to the layers where there is one."""
    with torch.enable_grad():
        return scorer(passed.output, rows)


def capture_session(
    session: Session,
    layers: Sequence[LayerCall],
    target: object = None,
    *,
    kind: Kind | None = None,
    scorer: Scorer | None = None,
    rows: Tensor | None = None,
) -> Capture:
    """What `capture` does, for layers that are resolved and, where `scorer` is given, targets that are settled.

    `rows` (n,) says which of the scorer's images each input belongs to.
    """
    with undisturbed(session.model, session.inputs.device, session.modules):
        passed, scorer, scores = _pass_with_grad(session, layers, target, scorer, rows)
        names = list(passed.kept)
        classes = scorer.classes if scorer.plain else None
        classes = classes if classes is None or rows is None else classes[rows]
        gradients = gradients_of(scores, [passed.kept[name] for name in names], passed.output, classes)
        records = {}
        for name, gradient in zip(names, gradients, strict=True):
            layer = next(layer for layer in layers if layer.label == name)
            records[name] = _record(session, layer, passed.kept[name].detach(), gradient, kind)
        logits = passed.output.logits_or_none()
        return Capture(records, scores.detach().float(), None if logits is None else logits.detach().float(), scorer)


def score_session(session: Session, target: object = None) -> Capture:
    """Scores and logits of a session with no layer looked at: one forward pass without grad."""
    with undisturbed(session.model, session.inputs.device):
        output = session.run()
        scorer = as_target(target).settle(output)
        scores = scorer(output, torch.arange(session.images, device=session.inputs.device))
        logits = output.logits_or_none()
        return Capture({}, scores.detach().float(), None if logits is None else logits.detach().float(), scorer)


def scores_with_graph(session: Session, scorer: Scorer, rows: Tensor) -> Tensor:
    """Scores (m, t) with the graph back to the session's inputs. To be called inside `undisturbed`."""
    frontier = Frontier((), started=True)
    for mode in (nullcontext(), _GradKeptOn(frontier)):
        with torch.enable_grad(), mode:
            scores = scorer(session.run(), rows)
        if scores.requires_grad or not session.inputs.requires_grad:
            return scores
    raise NoGradientError("No gradients captured. The score does not depend on the inputs")


def gradients_at_inputs(session: Session, scorer: Scorer, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Scores (m, t) and their gradients (m, t, c, *spatial) at the inputs. To be called inside `undisturbed`."""
    inputs = session.inputs.detach().clone().requires_grad_()
    scores = scores_with_graph(replace(session, inputs=inputs), scorer, rows)
    with torch.enable_grad():
        columns = scores.sum(dim=0).unbind()
    gradients = [
        torch.autograd.grad(one, inputs, retain_graph=place < len(columns) - 1, allow_unused=True)[0]
        for place, one in enumerate(columns)
    ]
    each = [torch.zeros_like(inputs) if gradient is None else gradient for gradient in gradients]
    return scores.detach().float(), torch.stack(each, dim=1).float()


def _pass_with_grad(
    session: Session, layers: Sequence[LayerCall], target: object, scorer: Scorer | None, rows: Tensor | None
) -> tuple[ForwardPass, Scorer, Tensor]:
    for through_no_grad in (False, True):
        passed = forward(session, layers, through_no_grad=through_no_grad)
        if scorer is None:
            with torch.enable_grad():
                scorer = as_target(target).settle(passed.output)
        everyone = torch.arange(session.images, device=session.inputs.device) if rows is None else rows
        scores = scored(passed, scorer, everyone)
        if scores.requires_grad:
            return passed, scorer, scores
    raise NoGradientError(
        f"{NO_GRADIENTS} The score does not depend on {', '.join(repr(layer.label) for layer in layers)}"
    )


def _record(
    session: Session, layer: LayerCall, kept: Tensor, gradient: Tensor | None, kind: Kind | None
) -> LayerRecord:
    if gradient is None:
        raise NoGradientError(f"{NO_GRADIENTS} Layer {layer.label!r} ran, but the score does not depend on it")
    try:
        layout = find_layout(
            layer.module, kept, images=session.images, spatial=session.spatial, model=session.model, kind=kind
        )
    except LayerError as error:
        raise LayerError(f"layer {layer.label!r} has no spatial grid: {error}") from None
    gradients = layout.every_features(gradient).transpose(0, 1)
    if not _varied_part(gradients).any():
        raise NoGradientError(
            f"{NO_GRADIENTS} The gradient at layer {layer.label!r} is exactly zero over its whole {layout} grid: "
            f"the score reads nothing there, as after a transformer's last attention"
        )
    return LayerRecord(layer, layout, layout.features(kept).float(), gradients.float(), kept)


def _varied_part(tensor: Tensor) -> Tensor:
    """A view without the repetitions of an expanded tensor: it holds the same values, each once."""
    for axis, stride in enumerate(tensor.stride()):
        if stride == 0:
            tensor = tensor.narrow(axis, 0, 1)
    return tensor


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
    inner = checked_model(model)
    wanted = [layers] if isinstance(layers, str | nn.Module) else list(layers)
    session = Session(inner, checked_inputs(inputs), tuple(args), dict(kwargs or {}), output)
    return capture_session(session, [resolve_layer(inner, layer) for layer in wanted], targets, kind=layout)
