"""What a run is about, settled once: plan, layer, embedding and grid, all from the data and one of its images."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from camlens.audit.running.features import FeatureTap, find_tap
from camlens.audit.running.loading import PlannedImages, loading_workers, one_line
from camlens.audit.running.memory import fitting_batch
from camlens.audit.running.observing import Observer
from camlens.audit.running.planning import Planned, planned
from camlens.audit.running.settings import DEFAULT_SHARD_SIZE, RunSettings
from camlens.audit.running.shard_work import ShardWork
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.plan import Plan
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.capture import capture_session
from camlens.core.errors import DataError, LayerError, ModelError, StoreError
from camlens.core.execution.session import Session, checked_inputs
from camlens.core.execution.survey import choose_layer
from camlens.core.layers import LayerCall, checked_model, resolve_layer
from camlens.core.provenance import weights_hash
from camlens.data.labels import translated
from camlens.data.places import is_url
from camlens.data.samples import Source
from camlens.methods import METHODS
from camlens.models import LoadedModel
from camlens.models.loading import declared

Data = str | Path | Sequence[str | Path] | Source
_FAMILY_CHOICE = "the model family's own choice"


@dataclass(frozen=True, eq=False)
class _Look:
    """What one image showed of the model."""

    session: Session
    layer: LayerCall
    reason: str
    tap: FeatureTap
    grid: tuple[int, int]
    width: int
    classes: int


def prepared(
    settings: RunSettings, directory: RunDirectory, loaded: LoadedModel, source: Source, data: Data
) -> ShardWork:
    """The work on a run that is begun here, or was begun before and is the same. Raises StoreError if it is not."""
    before = Manifest.read(directory.manifest_path) if directory.manifest_path.exists() else None
    loaded = declared(loaded)
    if loaded.task == "regression":
        raise ModelError("an audit needs a classifier, and this model is a regression", code="model.regression")
    translation = translated(source.class_names, loaded.class_names, by=settings.labels_by)
    if translation.problem is not None:
        raise translation.problem
    plan = planned(source, translation, limit=settings.limit, seed=settings.seed)
    example = _first_readable(loaded, source, plan)
    look = _look(settings, loaded, example)
    too_high = [image for image in plan.plan.images if image.label is not None and image.label >= look.classes]
    if too_high:
        raise DataError(
            f"image {too_high[0].id} has label {too_high[0].label}, and the model has classes 0 to {look.classes - 1}",
            code="labels.out-of-range",
            label=too_high[0].label,
            classes=look.classes,
        )
    now = _manifest(settings, loaded, plan, look, before, where(data), translation.how)
    if before is None:
        directory.begin(plan.plan, now)
    else:
        now = _same_run(before, now, directory, plan)
    directory.sweep(now)
    shape = tuple(look.session.inputs.shape[1:])
    images = PlannedImages(source, plan.places, loaded.preprocess, shape, look.grid)
    return ShardWork(
        directory=directory,
        manifest=now,
        images=images,
        labels=np.array([-1 if image.label is None else image.label for image in plan.plan.images], np.int64),
        observer=Observer(
            look.session.model,
            look.layer,
            look.tap,
            METHODS[settings.method],
            settings.top_k,
            look.grid,
            loaded.reader,
            loaded.activation,
        ),
        workers=loading_workers(images, settings.workers),
        example=example,
    )


def where(data: Data) -> str | None:
    """How the data can be found again: a URL, a demo's name or an absolute path; None for objects and lists."""
    if isinstance(data, str) and (is_url(data) or data.startswith("demo:")):
        return data
    return os.path.abspath(Path(data).expanduser()) if isinstance(data, str | Path) else None


def _first_readable(loaded: LoadedModel, source: Source, plan: Planned) -> Float[Tensor, "1 c h w"]:
    """The first image of the plan that can be read and prepared."""
    reason = ""
    for place in plan.places:
        try:
            return loaded.preprocess(source[place].load())[None]
        except Exception as error:  # noqa: BLE001  # a transform that is not ours may raise anything
            reason = reason or one_line(error)
    raise DataError(
        f"not one of the {len(plan.places):,} images can be read; the first: {reason}",
        code="data.all-unreadable",
        images=len(plan.places),
    )


def _look(settings: RunSettings, loaded: LoadedModel, image: Float[Tensor, "1 c h w"]) -> _Look:
    model = checked_model(loaded.model)
    session = Session(model, checked_inputs(image.to(loaded.device)), output=loaded.reader)
    layer, reason = _layer(settings, loaded, session)
    tap = find_tap(session, settings.embedding)
    with tap.open() as tapped:
        captured = capture_session(session, [layer])
        width = tapped.features(session).shape[1]
    grid = captured.records[layer.label].layout.grid
    if captured.logits is None:
        raise ModelError(
            "an audit needs a classifier: the model's output has no row of logits per image", code="model.output"
        )
    if len(grid) != 2:
        raise LayerError(
            f"layer {layer.label!r} has a grid of {len(grid)} axes: an audit is about images, with two",
            code="layer.axes",
            layer=layer.label,
            axes=len(grid),
        )
    return _Look(session, layer, reason, tap, (grid[0], grid[1]), width, captured.logits.shape[1])


def _layer(settings: RunSettings, loaded: LoadedModel, session: Session) -> tuple[LayerCall, str]:
    if settings.layer is not None:
        return resolve_layer(session.model, settings.layer), "asked for"
    if loaded.default_layer is not None:
        return resolve_layer(session.model, loaded.default_layer), _FAMILY_CHOICE
    choice = choose_layer(session)
    return choice.layer, choice.reason


def _manifest(
    settings: RunSettings,
    loaded: LoadedModel,
    plan: Planned,
    look: _Look,
    before: Manifest | None,
    data: str | None,
    how: str,
) -> Manifest:
    shard_size = settings.shard_size or (before.shard_size if before else DEFAULT_SHARD_SIZE)
    batch_size = settings.batch_size
    if batch_size == "auto":
        batch_size = before.batch_size if before else fitting_batch(look.session)
    height, width = look.session.spatial
    return Manifest(
        model=loaded.spec or None,
        model_type=type(look.session.model).__name__,
        weights=weights_hash(look.session.model),
        weights_file=loaded.weights_file,
        transform=re.sub(r" at 0x[0-9a-f]+", "", repr(loaded.preprocess)),  # where an object lies says nothing
        method=settings.method,
        layer=look.layer.label,
        layer_reason=look.reason,
        embedding=look.tap.label,
        embedding_width=look.width,
        grid=look.grid,
        input_size=(height, width),
        class_names=tuple(loaded.names(look.classes)),
        labels=how,
        data=data,
        fingerprint=plan.fingerprint,
        rows=len(plan.plan),
        shard_size=shard_size,
        batch_size=batch_size,
        limit=settings.limit,
        seed=settings.seed,
        top_k=min(settings.top_k, look.classes),
        activation=loaded.activation,
        output_key=loaded.output_key,
        camlens=version("camlens"),
        torch=torch.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _same_run(before: Manifest, now: Manifest, directory: RunDirectory, plan: Planned) -> Manifest:
    """The manifest of the run that is resumed, or a StoreError that says what is not as it was."""
    changes = before.changes(replace(now, fingerprint=before.fingerprint))
    if before.fingerprint != now.fingerprint:
        changes += [f"the data: {change}" for change in Plan.read(directory.plan_path).changes(plan.plan)]
    if changes:
        raise StoreError(
            f"{directory.path} holds another run: {'; '.join(changes)}. Choose another output, or begin anew with"
            " force, which removes that run",
            code="store.other-run",
            path=str(directory.path),
            changes=changes,
        )
    return replace(before, batch_size=now.batch_size)
