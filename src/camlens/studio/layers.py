"""The model's layers as a table: what each gives, whether it can carry a map, and how costly the whole is."""

import statistics
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from camlens.core.errors import CamlensError, LayerError, TargetError
from camlens.core.execution.harmless import undisturbed
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import LayerStatus, choose_layer, survey_session
from camlens.core.layers import checked_model
from camlens.core.types import SelectOutput
from camlens.models import LoadedModel
from camlens.models.loading import declared
from camlens.studio.schemas import LayerInfo, ModelSummary, Stage

TIMED_RUNS = 7
_STAGES: tuple[Stage, ...] = ("early", "middle", "late")


@dataclass(frozen=True, eq=False)
class Anatomy:
    """The layers in the order they finish, the default one with the reason, and the model in numbers.

    `loaded` is the model with a name for each output; one that returns features is shown as a regression.
    """

    model: nn.Module
    output: SelectOutput | None
    layers: tuple[LayerInfo, ...]
    default_layer: str | None
    reason: str
    summary: ModelSummary
    loaded: LoadedModel

    def logits(self, batch: Tensor) -> Tensor:
        """Class logits (n, classes) of a batch, in evaluation mode."""
        with undisturbed(self.model, batch.device):
            return Session(self.model, checked_inputs(batch), output=self.output).run().logits()

    def layer(self, name: str) -> nn.Module:
        """The module of that name, or a LayerError."""
        modules = dict(self.model.named_modules(remove_duplicate=False))
        if name not in modules or not name:
            raise LayerError(
                f"the model has no layer named {name!r}: the layers are listed at /api/layers",
                code="layer.unknown",
                layer=name,
            )
        module: nn.Module = modules[name]
        return module


def examine(loaded: LoadedModel, example: Tensor) -> Anatomy:
    """Look at a loaded model through one example (1, c, height, width)."""
    model = checked_model(loaded.model)
    session = Session(model, checked_inputs(example), output=loaded.reader)
    loaded = _with_outputs(loaded, session)
    statuses = survey_session(session)
    default, reason = _default(loaded, session)
    layers = _table(model, statuses)
    parameters = list(model.parameters())
    summary = ModelSummary(
        spec=loaded.spec,
        name=type(model).__name__,
        classes=len(loaded.class_names),
        task=loaded.task,
        default_layer=default,
        layer_choice=reason,
        parameters=sum(one.numel() for one in parameters),
        trainable=sum(one.numel() for one in parameters if one.requires_grad),
        bytes=sum(one.numel() * one.element_size() for one in [*parameters, *model.buffers()]),
        device=str(next((one.device for one in parameters), "cpu")),
        forward_ms=_forward_ms(session),
        input_size=(example.shape[-2], example.shape[-1]),
    )
    return Anatomy(model, loaded.reader, layers, default, reason, summary, loaded)


def _with_outputs(loaded: LoadedModel, session: Session) -> LoadedModel:
    """The model with a name for each output, and as a regression if these predict no class."""
    with undisturbed(session.model, session.inputs.device):
        output = session.run()
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
        return loaded.default_layer, "the model family's own choice"
    try:
        choice = choose_layer(session)
    except CamlensError as error:
        return None, str(error)
    return choice.layer.label, choice.reason


def _table(model: nn.Module, statuses: list[LayerStatus]) -> tuple[LayerInfo, ...]:
    modules = dict(model.named_modules(remove_duplicate=False))
    spatial = [status.name for status in statuses if status.usable]
    principal = set(_principal(model, statuses))
    rows, passed = [], 0
    for status in statuses:
        module = modules[status.name]
        stage = _STAGES[min(2, 3 * passed // max(1, len(spatial)))]
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
                trainable=sum(one.numel() for one in module.parameters() if one.requires_grad),
                principal=status.name in principal,
                convolution=isinstance(module, nn.Conv2d),
            )
        )
    return tuple(rows)


def _principal(model: nn.Module, statuses: list[LayerStatus]) -> list[str]:
    """Up to seven layers from early to late.

    These are the top-level blocks if their grids have three sizes; else the last block, or the last layer, of
    each size; else layers evenly apart.
    """
    usable = [status for status in statuses if status.usable and status.type != "Linear"]
    blocks = [status for status in usable if status.name.count(".") <= 1 and _has_parts(model, status.name)]
    tops = [status for status in blocks if "." not in status.name]
    if len({top.grid for top in tops}) >= 3 and len(tops) <= 7:
        return [top.name for top in tops]
    last_blocks = {block.grid: block.name for block in blocks}
    names = list((last_blocks if len(last_blocks) >= 3 else {status.grid: status.name for status in usable}).values())
    if len(names) < 3:
        outer = [status.name for status in usable if status.name.count(".") <= 1]
        pool = outer if len(outer) >= 3 else [status.name for status in usable]
        count = min(4, len(pool))
        names = [pool[round((place + 1) * len(pool) / count) - 1] for place in range(count)] if pool else []
    return names[-7:]


def _has_parts(model: nn.Module, name: str) -> bool:
    return next(model.get_submodule(name).children(), None) is not None


def _forward_ms(session: Session) -> float | None:
    """The median time of a plain forward pass of one image."""
    times = []
    with undisturbed(session.model, session.inputs.device), torch.no_grad():
        for _ in range(TIMED_RUNS):
            start = time.perf_counter()
            session.run()
            times.append(time.perf_counter() - start)
    return statistics.median(times) * 1000
