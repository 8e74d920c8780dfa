"""Preparing a run: its plan and its manifest, from the settings, the data and one image."""

import hashlib
import heapq
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

from camlens.audit.running.choosing import fitting_method
from camlens.audit.running.features import FeatureTap, find_tap
from camlens.audit.running.loading import PlannedImages, loading_workers, one_line
from camlens.audit.running.memory import fitting_batch
from camlens.audit.running.observing import Observer
from camlens.audit.running.settings import DEFAULT_SHARD_SIZE, RunSettings
from camlens.audit.running.shard_work import ShardWork
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.plan import Plan, PlannedImage
from camlens.audit.store.run_directory import RunDirectory
from camlens.core.engine import Request, Session, capture_session, choose_layer
from camlens.core.errors import DataError, LayerError, ModelError, StoreError
from camlens.core.layers import LayerCall, resolve_layer
from camlens.core.provenance import weights_hash
from camlens.data.labels import Translation, translated
from camlens.data.places import is_url
from camlens.data.samples import Sample, Source
from camlens.methods import METHODS
from camlens.models import LoadedModel
from camlens.models.loading import declared

Data = str | Path | Sequence[str | Path] | Source
_FAMILY_CHOICE = "the default of the model family"


@dataclass(frozen=True, eq=False)
class _Survey:
    """Facts about the model, from a pass with one image."""

    session: Session
    layer: LayerCall
    reason: str
    method: str
    method_reason: str
    tap: FeatureTap
    grid: tuple[int, int]
    width: int
    classes: int


def prepared(
    settings: RunSettings, directory: RunDirectory, loaded: LoadedModel, source: Source, data: Data
) -> ShardWork:
    """Return the work of a new or resumed run. Raises StoreError if `directory` holds another run."""
    before = Manifest.read(directory.manifest_path) if directory.manifest_path.exists() else None
    loaded = declared(loaded)
    if loaded.task == "regression":
        raise ModelError("an audit needs a classifier, but this model is a regression", code="model.regression")
    translation = translated(source.class_names, loaded.class_names, by=settings.labels_by)
    if translation.problem is not None:
        raise translation.problem
    plan, places = _planned(source, translation, limit=settings.limit, seed=settings.seed)
    if before is not None and plan.fingerprint != before.fingerprint:
        plan, places = _continued(_earlier_plan(directory, before), plan, places)
    example = _first_readable(loaded, source, places)
    survey = _survey(settings, loaded, example, before)
    too_high = [image for image in plan.images if image.label is not None and image.label >= survey.classes]
    if too_high:
        raise DataError(
            f"label {too_high[0].label} of image {too_high[0].id} is out of range: the model has {survey.classes}"
            f" classes (0 to {survey.classes - 1})",
            code="labels.out-of-range",
            label=too_high[0].label,
            classes=survey.classes,
        )
    now = _manifest(settings, loaded, plan, survey, before, _location(data), translation.how)
    if before is None:
        directory.begin(plan, now)
    else:
        now = _same_run(before, now, directory, plan)
    directory.sweep(now)
    shape = tuple(survey.session.inputs.shape[1:])
    images = PlannedImages(source, places, loaded.preprocess, shape, survey.grid)
    return ShardWork(
        directory=directory,
        manifest=now,
        images=images,
        labels=np.array([-1 if image.label is None else image.label for image in plan.images], np.int64),
        observer=Observer(
            survey.session.model,
            survey.layer,
            survey.tap,
            METHODS[survey.method],
            settings.top_k,
            survey.grid,
            loaded.reader,
            loaded.activation,
        ),
        workers=loading_workers(images, settings.workers),
        example=example,
    )


def _planned(source: Source, translation: Translation, *, limit: int | None, seed: int) -> tuple[Plan, list[int]]:
    """Return the plan of all images or of a random sample of `limit`, and the position of each in the source.

    A sample consists of the images with the smallest hashes of seed and id. A larger sample therefore contains every
    smaller one, and the order of the source does not matter.
    """
    if len(source) == 0:
        raise DataError("the source has no images: there is nothing to audit", code="data.no-images")
    places = list(range(len(source)))
    if limit is not None and limit < len(source):
        hashes = [hashlib.sha256(f"{seed}\0{sample.id}".encode()).digest() for sample in source]
        places = sorted(heapq.nsmallest(limit, places, key=hashes.__getitem__))
    images = []
    for place in places:
        sample = source[place]
        images.append(PlannedImage(sample.id, translation(sample.label), _stamp(sample)))
    return Plan(images), places


def _earlier_plan(directory: RunDirectory, before: Manifest) -> Plan:
    """Return the plan of an earlier run. Raises StoreError if it is not the one of the manifest."""
    plan = Plan.read(directory.plan_path).first(before.rows)
    if plan.fingerprint != before.fingerprint:
        raise StoreError(
            f"the plan {directory.plan_path} does not belong to the manifest beside it: pass --force (in Python,"
            " force=True) to replace the run",
            code="store.plan-damaged",
            path=str(directory.plan_path),
        )
    return plan


def _continued(earlier: Plan, plan: Plan, places: Sequence[int]) -> tuple[Plan, list[int]]:
    """Reorder a plan so that the images of an earlier one come first, in their order, and new images last."""
    positions = {image.id: position for position, image in enumerate(plan.images)}
    known = {image.id for image in earlier.images}
    order = [positions[image.id] for image in earlier.images if image.id in positions]
    order += [position for name, position in positions.items() if name not in known]
    return Plan([plan.images[position] for position in order]), [places[position] for position in order]


def _stamp(sample: Sample) -> str | None:
    """Return the size and modification time of the sample's file, or the stamp that its source provides."""
    if sample.path is None:
        return sample.stamp
    try:
        facts = sample.path.stat()
    except OSError:
        return "absent"
    return f"{facts.st_size} bytes, {facts.st_mtime_ns}"


def _location(data: Data) -> str | None:
    """Return the URL, demo name or absolute path of the data; None for objects and lists."""
    if isinstance(data, str) and (is_url(data) or data.startswith("demo:")):
        return data
    return os.path.abspath(Path(data).expanduser()) if isinstance(data, str | Path) else None


def _first_readable(loaded: LoadedModel, source: Source, places: Sequence[int]) -> Float[Tensor, "1 c h w"]:
    """Return the first planned image that can be read, preprocessed."""
    reason = ""
    for place in places:
        try:
            return loaded.preprocess(source[place].load())[None]
        except Exception as error:  # noqa: BLE001  # a user's transform may raise anything
            reason = reason or one_line(error)
    raise DataError(
        f"none of the {len(places):,} images can be read; error of the first: {reason}",
        code="data.all-unreadable",
        images=len(places),
    )


def _survey(
    settings: RunSettings, loaded: LoadedModel, image: Float[Tensor, "1 c h w"], before: Manifest | None
) -> _Survey:
    session = Session.of(loaded.model, image.to(loaded.device), output=loaded.reader)
    layer, reason = _layer(settings, loaded, session)
    tap = find_tap(session, settings.embedding)
    with tap.open() as tapped:
        captured = capture_session(session, Request([layer]))
        width = tapped.features(session).shape[1]
    grid = captured.records[layer.label].layout.grid
    if captured.logits is None:
        raise ModelError(
            "an audit needs a classifier, whose output has one row of logits per image", code="model.output"
        )
    if len(grid) != 2:
        raise LayerError(
            f"layer {layer.label!r} has a grid of {len(grid)} axes: an audit needs a layer with two spatial axes",
            code="layer.axes",
            layer=layer.label,
            axes=len(grid),
        )
    if settings.method is not None:
        method, why = settings.method, "set by the user"
    elif before is not None:
        method, why = before.method, before.method_reason
    else:
        method, why = fitting_method(session, layer, captured)
    return _Survey(session, layer, reason, method, why, tap, (grid[0], grid[1]), width, captured.logits.shape[1])


def _layer(settings: RunSettings, loaded: LoadedModel, session: Session) -> tuple[LayerCall, str]:
    if settings.layer is not None:
        return resolve_layer(session.model, settings.layer), "set by the user"
    if loaded.default_layer is not None:
        return resolve_layer(session.model, loaded.default_layer), _FAMILY_CHOICE
    choice = choose_layer(session)
    return choice.layer, choice.reason


def _manifest(
    settings: RunSettings,
    loaded: LoadedModel,
    plan: Plan,
    survey: _Survey,
    before: Manifest | None,
    data: str | None,
    how: str,
) -> Manifest:
    shard_size = settings.shard_size or (before.shard_size if before else DEFAULT_SHARD_SIZE)
    batch_size = settings.batch_size
    if batch_size == "auto":
        batch_size = before.batch_size if before else fitting_batch(survey.session)
    height, width = survey.session.spatial
    return Manifest(
        model=loaded.spec or None,
        model_type=type(survey.session.model).__name__,
        weights=weights_hash(survey.session.model),
        weights_file=loaded.weights_file,
        transform=re.sub(
            r" at 0x[0-9a-f]+", "", repr(loaded.preprocess)
        ),  # addresses of objects differ from run to run
        method=survey.method,
        method_reason=survey.method_reason,
        layer=survey.layer.label,
        layer_reason=survey.reason,
        embedding=survey.tap.label,
        embedding_width=survey.width,
        grid=survey.grid,
        input_size=(height, width),
        class_names=tuple(loaded.names(survey.classes)),
        labels=how,
        data=data,
        fingerprint=plan.fingerprint,
        rows=len(plan),
        shard_size=shard_size,
        batch_size=batch_size,
        limit=settings.limit,
        seed=settings.seed,
        top_k=min(settings.top_k, survey.classes),
        activation=loaded.activation,
        output_key=loaded.output_key,
        camlens=version("camlens"),
        torch=torch.__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _same_run(before: Manifest, now: Manifest, directory: RunDirectory, plan: Plan) -> Manifest:
    """Return the manifest of the run to resume or to extend; an extension is written.

    Raises StoreError if model or settings have changed, or if images of the run were removed or changed.
    """
    extended = plan.first(before.rows).fingerprint == before.fingerprint
    changes = before.changes(replace(now, fingerprint=before.fingerprint), extended=extended)
    images = {} if extended else _earlier_plan(directory, before).changes(plan)
    if changes or images:
        listed = [f"{name} was {_short(old)} and is now {_short(new)}" for name, (old, new) in changes.items()]
        listed += [
            f"{len(names):,} {'image' if len(names) == 1 else 'images'} {kind} ({', '.join(names[:3])}"
            f"{', ...' if len(names) > 3 else ''})"
            for kind, names in images.items()
        ]
        raise StoreError(
            f"{directory.path} holds another run: {'; '.join(listed)}. Choose another output directory, or pass"
            " --force (in Python, force=True) to replace that run",
            code="store.other-run",
            path=str(directory.path),
            changes=changes,
            images=images,
        )
    if len(plan) == before.rows:
        return replace(before, batch_size=now.batch_size)
    longer = replace(
        before,
        batch_size=now.batch_size,
        rows=now.rows,
        fingerprint=now.fingerprint,
        limit=now.limit,
        seed=now.seed,
        earlier=(*before.earlier, (before.rows, before.fingerprint)),
    )
    directory.extend(plan, longer)
    return longer


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-6:]}"
