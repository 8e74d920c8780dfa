"""Which layers of a model can carry a map, and why not, from one forward and one backward pass."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from camlens.core.errors import CamlensError, LayerError, ModelError, TargetError
from camlens.core.execution.frontier import Frontier
from camlens.core.execution.hooks import observed
from camlens.core.execution.locality import ELSEWHERE, NOT_LOCAL, altered, excuse, objections
from camlens.core.execution.outputs import find_logits
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall, named_layers
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.targets import ClassScore, Output, Scorer, Target, as_target
from camlens.core.targets.per_image import for_first_image

_ZERO = "the gradient is exactly zero on its grid"


@dataclass(frozen=True)
class Highest(Target):
    """The highest logit of each image, even if the outputs are no class scores."""

    def settle(self, output: Output) -> Scorer:
        """Score the index of the highest logit."""
        return ClassScore(output.logits().argmax(dim=1).tolist()).settle(output)


HIGHEST = Highest()


@dataclass(frozen=True)
class LayerStatus:
    """A layer's output shape and layout, and whether it can carry a map; if not, `reason` tells why.

    `region_blind` marks layers of a dense model that are followed by linear operations only: the weights of their
    channels are the same for every region of the output. `dense_scores` marks layers that hold the scores of a dense
    model or of a detector.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    layout: Layout | None
    usable: bool
    reason: str
    parameters: int
    region_blind: bool = False
    dense_scores: bool = False

    @property
    def grid(self) -> tuple[int, ...] | None:
        """The spatial grid, or None."""
        return None if self.layout is None else self.layout.grid


@dataclass(frozen=True)
class Choice:
    """A chosen layer, and the reason."""

    layer: LayerCall
    reason: str


def survey_session(
    session: Session,
    target: object = HIGHEST,
    *,
    kind: Kind | None = None,
    of_type: type[nn.Module] = nn.Module,
    trusting: bool = False,
) -> list[LayerStatus]:
    """The status of every layer of a type, in the order in which they finish, judged on the first image.

    If `trusting`, the grids of layers that `refuse_misread` trusts are not tested for locality: that test takes most of
    the time on a model with hundreds of layers.
    """
    first = session.part(0, 1)
    modules = named_layers(first.model)
    layers = [LayerCall(name, module) for name, module in modules if name and isinstance(module, of_type)]

    def run() -> tuple[Frontier, Gradients, list[Gradients], int | None, bool]:
        frontier = Frontier(layers, first)  # not checked: a layer that fails gets a status as well
        with torch.no_grad(), observed([layer.module for layer in layers], frontier.observe):
            output = first.run(guard)
        with torch.enable_grad():
            scorer = of_first.settle(output)
            scores = scorer(output)
            dense = find_logits(output.value)
            detects = _detects(output.value)
            halves = [] if dense is None else _halves(dense)
        regions = [_gradients(half, frontier.kept, again=True) for half in halves]
        classes = dense.shape[1] if dense is not None else None
        return frontier, _gradients(scores, frontier.kept), regions, classes, detects

    with first.undisturbed() as guard:
        of_first = for_first_image(as_target(target), session.images, lambda: session.run(guard))
        frontier, gradients, regions, classes, detects = despite_writing(run)
    finished = {name: place for place, name in enumerate(frontier.kept)}
    layers.sort(key=lambda layer: finished.get(layer.label, len(finished)))
    statuses = {layer: _status(first, layer, frontier, gradients, kind) for layer in layers}
    usable = {layer: status.layout for layer, status in statuses.items() if status.layout and status.usable}
    objected = objections(first, _doubtful(first, usable) if trusting else usable, kind=kind)
    local = {layout for layer, layout in usable.items() if layer.label not in objected}
    for layer, layout in usable.items():
        reason = objected.get(layer.label, "")
        if reason == NOT_LOCAL and layout in local and not isinstance(layer.module, _OF_ATTENTION):
            reason = ""  # it has the layout of layers that passed the test
        blind = bool(regions) and _same_weights(layout, *(region.get(layer.label) for region in regions))
        scores_only = blind and layout.features(frontier.kept[layer.label]).shape[1] == classes
        statuses[layer] = replace(
            statuses[layer], usable=not reason, reason=reason, region_blind=blind, dense_scores=scores_only
        )
    if detects:  # the last module is the head: its grid holds the scores of anchors
        last = next((layer for layer in reversed(usable) if statuses[layer].usable), None)
        if last is not None:
            statuses[last] = replace(statuses[last], dense_scores=True)
    return list(statuses.values())


def _detects(output: object) -> bool:
    """Whether this is a detector's output: one mapping with boxes per image."""
    return isinstance(output, list | tuple) and all(isinstance(item, Mapping) and "boxes" in item for item in output)


Gradients = dict[str, Tensor | None]
_OF_ATTENTION = (nn.Softmax, nn.Dropout, nn.Identity)  # modules that return attention matrices, queries and keys


def refuse_misread(session: Session, layouts: dict[LayerCall, Layout], target: object, *, kind: Kind | None) -> None:
    """Raise a LayerError if the grid of one of these layers is not aligned with the inputs.

    A layer that returns (n, k, *grid) is trusted, unless modules of its kind return attention matrices, queries or
    keys, or the model has further arguments.
    """
    doubtful = _doubtful(session, layouts)
    for label, reason in objections(session, doubtful, kind=kind).items() if doubtful else ():
        layer = next(layer for layer in doubtful if layer.label == label)
        if reason == NOT_LOCAL:
            statuses = {status.name: status for status in survey_session(session, target)}
            if layer.name in statuses and statuses[layer.name].reason != NOT_LOCAL:
                excuse(session, layer, doubtful[layer])
                continue
        raise LayerError(
            f"layer {label!r} cannot carry a map: {reason} (read as {doubtful[layer]}); "
            f"choose another layer, or pass layout= if you know how it is laid out",
            code="layer.not-of-inputs" if reason == ELSEWHERE else "layer.not-local",
            layer=label,
        )


def _doubtful(session: Session, layouts: Mapping[LayerCall, Layout]) -> dict[LayerCall, Layout]:
    """The layers whose grid must be tested for alignment with the inputs."""
    alone = not (session.args or session.kwargs)
    return {
        layer: layout
        for layer, layout in layouts.items()
        if not (alone and layout.kind == "channels_first")
        or isinstance(layer.module, (*_OF_ATTENTION, nn.LayerNorm, nn.Linear))
    }


def _halves(dense: Tensor) -> list[Tensor]:
    """A mixture of all classes in the first and in the second half of a dense output (1, classes, *size)."""
    if dense.ndim < 4 or not dense.requires_grad or dense.shape[-1] < 2:
        return []
    weights = torch.arange(dense.shape[1], device=dense.device).add(1).cos().to(dense)
    mixed = torch.einsum("nk...,k->n...", dense, weights)
    middle = mixed.shape[-1] // 2
    return [mixed[..., :middle], mixed[..., middle:]]


def _same_weights(layout: Layout, first: Tensor | None, second: Tensor | None) -> bool:
    """Whether the channels' weights for two regions, their mean gradients, point the same way."""
    if first is None or second is None:
        return False
    weights, others = (layout.features(each).flatten(2).mean(dim=2)[0].double() for each in (first, second))
    return bool(torch.cosine_similarity(weights, others, dim=0).abs() > 0.999)


def _gradients(scores: Tensor, kept: dict[str, Tensor], *, again: bool = False) -> Gradients:
    if not scores.requires_grad or not kept:
        return dict.fromkeys(kept)
    with torch.enable_grad():
        total = scores.sum()
    return dict(
        zip(kept, torch.autograd.grad(total, list(kept.values()), allow_unused=True, retain_graph=again), strict=True)
    )


def _status(
    session: Session,
    layer: LayerCall,
    frontier: Frontier,
    gradients: Gradients,
    kind: Kind | None,
) -> LayerStatus:
    kept = frontier.kept.get(layer.label)
    runs = frontier.calls.get(id(layer.module), 0)
    layout: Layout | None = None
    if kept is None:
        reason = frontier.failed.get(layer.label, "does not run in the forward pass")
    else:
        try:
            layout = find_layout(layer.module, kept, images=1, spatial=session.spatial, model=session.model, kind=kind)
            layout = replace(layout, place=frontier.places[layer.label])
            reason = _objection(layer, layout, gradients.get(layer.label), runs)
        except LayerError as error:
            reason = f"no spatial grid: {error}"
    return LayerStatus(
        name=layer.name,
        type=type(layer.module).__name__,
        shape=None if kept is None else tuple(kept.shape),
        layout=layout,
        usable=not reason,
        reason=reason,
        parameters=sum(parameter.numel() for parameter in layer.module.parameters()),
    )


def _objection(layer: LayerCall, layout: Layout, gradient: Tensor | None, runs: int) -> str:
    """Why this layer cannot carry a map, or an empty string."""
    if runs > 1:
        return f"runs {runs} times: choose a call, such as {layer.name}#1"
    if torch.Size(layout.grid).numel() == 1:
        return "no spatial grid: a single cell"
    if gradient is None:
        return "does not feed the score"
    if not layout.features(gradient).any():
        return _ZERO
    return ""


def choose_layer(session: Session, target: object = HIGHEST, *, kind: Kind | None = None) -> Choice:
    """Choose the last layer whose output has a spatial grid and a gradient that is not zero.

    Linear layers, and what is inside a module of attention, are skipped: in a transformer these are projections such as
    queries, keys and values, while the normalization or the block itself returns the residual stream. In a model with a
    dense output, such as a segmentation, layers whose channels have the same weights for every region are skipped too,
    and so is the module that computes the scores.
    """
    for statuses in _surveys(session, target, kind):
        usable = [status for status in statuses if status.usable and status.type != "Linear"]
        attention = [f"{status.name}." for status in statuses if status.type.endswith(("Attention", "Attn"))]
        usable = [status for status in usable if not status.name.startswith(tuple(attention))] or usable
        if usable:
            break
    else:
        statuses = survey_session(session, target, kind=kind)
        raise LayerError(
            "no layer of this model has a spatial grid and a gradient that is not zero for this target; "
            + _first_objections(statuses),
            code="layer.none",
        )
    heads = {status.name.split(".")[0] for status in statuses if status.dense_scores}
    sighted = [status for status in usable if not status.region_blind]
    features = [status for status in sighted if status.name.split(".")[0] not in heads]
    last = (features or sighted or usable)[-1]
    later = [status.name for status in statuses[statuses.index(last) + 1 :] if status.reason]
    reason = f"last layer whose output has a spatial grid ({last.layout}) and a gradient that is not zero"
    if later:
        reason += f"; after it {later[0]} {'and others have' if len(later) > 1 else 'has'} none"
    return Choice(LayerCall(last.name, dict(named_layers(session.model))[last.name]), reason)


def _surveys(
    session: Session, target: object, kind: Kind | None, of_type: type[nn.Module] = nn.Module
) -> Iterator[list[LayerStatus]]:
    """Yield the survey of the first image, then those of altered images and another score if gradients are zero.

    An image can be dead, and a contrast can cancel on it, while the layers have gradients for the rest of the batch.
    """
    statuses = survey_session(session, target, kind=kind, of_type=of_type)
    yield statuses
    if not any(status.reason == _ZERO for status in statuses):
        return
    first = session.part(0, 1)
    for wanted in (None, as_target(target).part(0, 1, session.images)):
        for inputs in (first.inputs, *altered(first.inputs)):
            with suppress(TargetError, ModelError):
                yield survey_session(replace(first, inputs=inputs), wanted, kind=kind, of_type=of_type)


def choose_convolutions(session: Session, target: object = HIGHEST, *, kind: Kind | None = None) -> list[Choice]:
    """Choose every convolution that can carry a map, in the order in which they finish."""
    for statuses in _surveys(session, target, kind, of_type=nn.modules.conv._ConvNd):
        if any(status.usable for status in statuses):
            break
    modules = dict(named_layers(session.model))
    layers = [LayerCall(status.name, modules[status.name]) for status in statuses if status.usable]
    if not layers:
        raise LayerError(
            f"no convolution of this model can carry a map; {_first_objections(statuses)}".rstrip("; "),
            code="layer.no-convolution",
        )
    return [Choice(layer, "a convolution with a spatial grid and a gradient that is not zero") for layer in layers]


def usable_names(session: Session, target: object = HIGHEST, *, kind: Kind | None = None, limit: int = 8) -> list[str]:
    """Names of the last layers that can carry a map."""
    statuses = survey_session(session, target, kind=kind)
    return [status.name for status in statuses if status.usable and status.type != "Linear"][-limit:]


def with_candidates(
    error: LayerError, session: Session, target: object = HIGHEST, *, kind: Kind | None = None
) -> LayerError:
    """Return the same error with the names of layers that can carry a map."""
    try:
        names = usable_names(session, target, kind=kind)
    except (CamlensError, RuntimeError):
        names = []
    hint = f"; layers that can carry a map: {', '.join(names)}" if names else ""
    return type(error)(f"{error}{hint}", code=error.code, **{**error.facts, "candidates": names})


def _first_objections(statuses: Sequence[LayerStatus]) -> str:
    return "; ".join(f"{status.name}: {status.reason}" for status in statuses[-3:] if status.reason)
