"""Every layer of a model, seen in one forward and one backward pass: which can carry a map, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from camlens.core.errors import CamlensError, LayerError
from camlens.core.execution.frontier import Frontier
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.hooks import observed
from camlens.core.execution.saved_tensors import despite_writing
from camlens.core.execution.session import Session
from camlens.core.layers import LayerCall
from camlens.core.layouts import Kind, Layout, find_layout
from camlens.core.targets import as_target
from camlens.core.targets.per_image import for_first_image


@dataclass(frozen=True)
class LayerStatus:
    """One layer: its output's shape and layout, and whether it can carry a map; if not, `reason` says why."""

    name: str
    type: str
    shape: tuple[int, ...] | None
    layout: Layout | None
    usable: bool
    reason: str
    parameters: int

    @property
    def grid(self) -> tuple[int, ...] | None:
        """The spatial grid, where there is one."""
        return None if self.layout is None else self.layout.grid


@dataclass(frozen=True)
class Choice:
    """A layer that was picked, and why."""

    layer: LayerCall
    reason: str


def survey_session(
    session: Session,
    target: object = None,
    *,
    kind: Kind | None = None,
    of_type: type[nn.Module] = nn.Module,
) -> list[LayerStatus]:
    """The status of every layer of a type, in the order in which they finish, judged on the first image."""
    first = session.part(0, 1)
    modules = first.model.named_modules()
    layers = [LayerCall(name, module) for name, module in modules if name and isinstance(module, of_type)]

    def run() -> tuple[Frontier, dict[str, Tensor | None]]:
        frontier = Frontier(layers)  # its check is not asked for: every layer gets a status
        with torch.no_grad(), observed([layer.module for layer in layers], frontier.observe):
            output = first.run()
        with torch.enable_grad():
            scorer = of_first.settle(output)
            scores = scorer(output, torch.zeros(1, dtype=torch.long, device=first.inputs.device))
        return frontier, _gradients(scores, frontier.kept)

    with undisturbed(first.model, first.inputs.device):
        with torch.no_grad():
            of_first = for_first_image(as_target(target), session.images, session.run)
        frontier, gradients = despite_writing(run)
    finished = {name: place for place, name in enumerate(frontier.kept)}
    layers.sort(key=lambda layer: finished.get(layer.label, len(finished)))
    return [_status(first, layer, frontier, gradients, kind) for layer in layers]


def _gradients(scores: Tensor, kept: dict[str, Tensor]) -> dict[str, Tensor | None]:
    if not scores.requires_grad or not kept:
        return dict.fromkeys(kept)
    with torch.enable_grad():
        total = scores.sum()
    return dict(zip(kept, torch.autograd.grad(total, list(kept.values()), allow_unused=True), strict=True))


def _status(
    session: Session,
    layer: LayerCall,
    frontier: Frontier,
    gradients: dict[str, Tensor | None],
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
        return f"runs {runs} times: say which call, as in {layer.name}#1"
    if torch.Size(layout.grid).numel() == 1:
        return "no spatial grid: a single cell"
    if gradient is None:
        return "does not feed the score"
    if not layout.features(gradient).any():
        return "the gradient is exactly zero on its grid"
    return ""


def choose_layer(session: Session, target: object = None, *, kind: Kind | None = None) -> Choice:
    """The last layer whose output has a spatial grid and a gradient that is not zero.

    Linear layers are passed over: in a transformer they are projections inside a block, while the
    normalisation or the block itself holds the stream that is read on.
    """
    statuses = survey_session(session, target, kind=kind)
    usable = [status for status in statuses if status.usable and status.type != "Linear"]
    if not usable:
        raise LayerError(
            "no layer of this model has a spatial grid and a gradient that is not zero for this target; "
            + _first_objections(statuses)
        )
    last = usable[-1]
    later = [status.name for status in statuses[statuses.index(last) + 1 :] if status.reason]
    reason = f"last layer whose output has a spatial grid ({last.layout}) and a gradient that is not zero"
    if later:
        reason += f"; after it {later[0]} {'and others have' if len(later) > 1 else 'has'} none"
    return Choice(LayerCall(last.name, session.model.get_submodule(last.name)), reason)


def choose_convolutions(session: Session, target: object = None, *, kind: Kind | None = None) -> list[Choice]:
    """Every convolution that can carry a map, in the order in which they finish."""
    statuses = survey_session(session, target, kind=kind, of_type=nn.modules.conv._ConvNd)
    found = [LayerCall(one.name, session.model.get_submodule(one.name)) for one in statuses if one.usable]
    if not found:
        raise LayerError(f"no convolution of this model can carry a map; {_first_objections(statuses)}".rstrip("; "))
    return [Choice(layer, "a convolution with a spatial grid and a gradient that is not zero") for layer in found]


def usable_names(session: Session, target: object = None, *, kind: Kind | None = None, limit: int = 8) -> list[str]:
    """Names of the last layers that can carry a map, for the list in an error message."""
    statuses = survey_session(session, target, kind=kind)
    return [status.name for status in statuses if status.usable and status.type != "Linear"][-limit:]


def with_candidates(
    error: LayerError, session: Session, target: object = None, *, kind: Kind | None = None
) -> LayerError:
    """The same error, and names of layers that can carry a map where there are any."""
    try:
        names = usable_names(session, target, kind=kind)
    except (CamlensError, RuntimeError):
        names = []
    hint = f"; layers that can carry a map: {', '.join(names)}" if names else ""
    return type(error)(f"{error}{hint}", code=error.code, **{**error.facts, "candidates": names})


def _first_objections(statuses: Sequence[LayerStatus]) -> str:
    return "; ".join(f"{status.name}: {status.reason}" for status in statuses[-3:] if status.reason)
