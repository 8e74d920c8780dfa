"""The layers of the model as a table, its default layer, and its summary."""

import statistics
from dataclasses import dataclass, replace

from torch import Tensor, nn

from camlens.core.engine import LayerStatus, Session, choose_layer, survey_session
from camlens.core.errors import CamlensError, LayerError, TargetError
from camlens.core.layers import checked_model
from camlens.core.types import SelectOutput
from camlens.models import LoadedModel
from camlens.models.loading import declared
from camlens.studio.schemas import LayerInfo, ModelSummary, Stage
from camlens.studio.threads import forward_seconds

MOST_PRINCIPAL = 7
_STAGES: tuple[Stage, ...] = ("early", "middle", "late")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The layers in the order in which they finish, the default layer and why it was chosen, and the summary.

    `loaded` is the model with a name for each output; a model that returns features is treated as a regression.
    """

    model: nn.Module
    output: SelectOutput | None
    layers: tuple[LayerInfo, ...]
    default_layer: str | None
    reason: str
    summary: ModelSummary
    loaded: LoadedModel

    def logits(self, batch: Tensor) -> Tensor:
        """Return the class logits (n, classes) of a batch, in evaluation mode."""
        return Session.of(self.model, batch, output=self.output).predict().logits()

    def layer(self, name: str) -> nn.Module:
        """Return the module of that name; raise LayerError if there is none."""
        modules = dict(self.model.named_modules(remove_duplicate=False))
        if name not in modules or not name:
            message = f"unknown layer {name!r}: /api/layers lists the layers of the model"
            raise LayerError(message, code="layer.unknown", layer=name)
        module: nn.Module = modules[name]
        return module


def examine(loaded: LoadedModel, example: Tensor) -> Anatomy:
    """Examine a model on one example (1, c, height, width)."""
    model = checked_model(loaded.model)
    session = Session.of(model, example, output=loaded.reader)
    loaded = _with_outputs(loaded, session)
    # like `explain`, trust layers that return (n, k, *grid): testing hundreds of them takes seconds
    layers = _table(model, survey_session(session, trusting=True))
    default, reason = _default(loaded, session)
    parameters = list(model.parameters())
    summary = ModelSummary(
        spec=loaded.spec,
        name=type(model).__name__,
        classes=len(loaded.class_names),
        task=loaded.task,
        default_layer=default,
        layer_choice=reason,
        parameters=sum(parameter.numel() for parameter in parameters),
        trainable=_trainable(model),
        bytes=sum(tensor.numel() * tensor.element_size() for tensor in [*parameters, *model.buffers()]),
        device=str(next((parameter.device for parameter in parameters), "cpu")),
        forward_ms=statistics.median(forward_seconds(session)) * 1000,
        input_size=(example.shape[-2], example.shape[-1]),
    )
    return Anatomy(model, loaded.reader, layers, default, reason, summary, loaded)


def _with_outputs(loaded: LoadedModel, session: Session) -> LoadedModel:
    """Return the model with a name for each output, as a regression if the outputs are not class scores."""
    output = session.predict()
    logits = output.logits_or_none()
    if logits is None:
        return loaded
    try:
        output.class_scores()
    except TargetError:
        loaded = declared(loaded, task="regression")
    return replace(loaded, class_names=loaded.names(logits.shape[1]))


def _default(loaded: LoadedModel, session: Session) -> tuple[str | None, str]:
    if loaded.default_layer is not None:
        return loaded.default_layer, "default of the model family"
    try:
        choice = choose_layer(session)
    except CamlensError as error:
        return None, str(error)
    return choice.layer.label, choice.reason


def _table(model: nn.Module, statuses: list[LayerStatus]) -> tuple[LayerInfo, ...]:
    modules = dict(model.named_modules(remove_duplicate=False))
    usable = sum(status.usable for status in statuses)
    principal = set(_principal(model, statuses))
    rows, passed = [], 0
    for status in statuses:
        module = modules[status.name]
        stage = _STAGES[min(2, 3 * passed // max(1, usable))]
        passed += status.usable
        rows.append(
            LayerInfo(
                name=status.name,
                type=status.type,
                shape=status.shape,
                grid=status.grid,
                stage=stage,
                usable=status.usable,
                reason=status.reason,
                parameters=status.parameters,
                trainable=_trainable(module),
                principal=status.name in principal,
                convolution=isinstance(module, nn.Conv2d),
            )
        )
    return tuple(rows)


def _trainable(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def _principal(model: nn.Module, statuses: list[LayerStatus]) -> list[str]:
    """Return up to seven layers from early to late.

    These are the top-level blocks if they have at least three grid sizes; otherwise the last block of each grid size,
    the last layer of each grid size, or evenly spaced layers, whichever first gives three.
    """
    usable = [status for status in statuses if status.usable and status.type != "Linear"]
    blocks = [status for status in usable if status.name.count(".") <= 1 and _has_children(model, status.name)]
    tops = [status for status in blocks if "." not in status.name]
    if len({top.grid for top in tops}) >= 3 and len(tops) <= MOST_PRINCIPAL:
        return [top.name for top in tops]
    last_blocks = {block.grid: block.name for block in blocks}
    last_layers = {status.grid: status.name for status in usable}
    names = list((last_blocks if len(last_blocks) >= 3 else last_layers).values())
    if len(names) < 3:
        outer = [status.name for status in usable if status.name.count(".") <= 1]
        pool = outer if len(outer) >= 3 else [status.name for status in usable]
        count = min(4, len(pool))
        names = [pool[round((place + 1) * len(pool) / count) - 1] for place in range(count)]
    return names[-MOST_PRINCIPAL:]


def _has_children(model: nn.Module, name: str) -> bool:
    return next(model.get_submodule(name).children(), None) is not None
