"""Export of a run as a FiftyOne dataset."""

import importlib
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from camlens.audit.opening import Audit
from camlens.audit.store.schema import MEASURES
from camlens.core.errors import DataError, InputError, MissingExtraError

_NUMBERS = ("label_confidence", "margin", "loss", *MEASURES)
_AT_ONCE = 512


def to_fiftyone(audit: Audit, name: str | None = None, *, embeddings: bool = True, overwrite: bool = False) -> Any:
    """Return a `fiftyone.Dataset` with a sample for each row whose image is a local file.

    Fields are `ground_truth` and `prediction` (`fo.Classification`, with confidence), `map_predicted` and `map_label`
    (`fo.Heatmap` of the positive evidence, scaled to [0, 1], at the layer's resolution), `embedding`, `row`,
    `audit_id`, `audit_error`, and the measures by name. FiftyOne stretches heat maps over the whole image: if the
    preprocessing crops, they are displaced.

    FiftyOne is not part of an extra: install it with `pip install fiftyone`.

    Args:
        audit: the run.
        name: name of the dataset; by default, that of the run's directory.
        embeddings: whether to include embeddings.
        overwrite: replace an existing dataset of that name.

    Raises:
        MissingExtraError: FiftyOne is not installed.
        InputError: a dataset of that name exists.
        DataError: no image is a local file, as in a run of a demo or a saved dataset.
    """
    fo = _fiftyone()
    paths = audit.column("path")
    rows = np.flatnonzero([path is not None and "://" not in path for path in paths])
    if not len(rows):
        raise DataError(
            f"no image of {audit.path} is a local file, which FiftyOne requires",
            code="export.no-files",
            path=str(audit.path),
        )
    name = name or audit.path.resolve().name
    if fo.dataset_exists(name) and not overwrite:
        raise InputError(
            f"a FiftyOne dataset {name!r} already exists: choose another name, or set overwrite=True",
            code="export.exists",
            name=name,
        )
    dataset = fo.Dataset(name, overwrite=overwrite)
    dataset.info = {"model": audit.manifest.model, "layer": audit.manifest.layer, "method": audit.manifest.method}
    columns = {
        column: audit.column(column) for column in ("id", "label", "predicted", "confidence", "error", *_NUMBERS)
    }
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        heat = {which: audit.maps(part, which) for which in ("predicted", "label")}
        features = audit.embeddings(part) if embeddings else np.zeros((len(part), 0), np.float32)
        samples = []
        for place, row in enumerate(part.tolist()):
            sample = fo.Sample(filepath=paths[row], row=row, audit_id=columns["id"][row])
            for field, value in _fields(fo, audit, columns, row).items():
                sample[field] = value
            for which, maps in heat.items():
                drawn = heatmap(maps[place])
                if drawn is not None:
                    sample[f"map_{which}"] = fo.Heatmap(map=drawn, range=[0, 1])
            if features.shape[1] and not np.isnan(features[place, 0]):
                sample["embedding"] = features[place]
            samples.append(sample)
        dataset.add_samples(samples)
    return dataset


def heatmap(signed: Float[np.ndarray, "h w"]) -> NDArray[np.float32] | None:
    """Return the positive evidence divided by its maximum, or None if there is no evidence or no map."""
    if not np.isfinite(signed).all() or signed.max() <= 0:
        return None
    shares: NDArray[np.float32] = (signed.clip(0) / signed.max()).astype(np.float32)
    return shares


def _fields(fo: Any, audit: Audit, columns: dict[str, NDArray[Any]], row: int) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    label, predicted = columns["label"][row], columns["predicted"][row]
    if label is not np.ma.masked:
        fields["ground_truth"] = fo.Classification(label=audit.class_names[int(label)])
    if predicted is not np.ma.masked:
        confidence = float(columns["confidence"][row])
        fields["prediction"] = fo.Classification(label=audit.class_names[int(predicted)], confidence=confidence)
    for column in _NUMBERS:
        value = float(columns[column][row])
        if not np.isnan(value):
            fields[column] = value
    if columns["error"][row] is not None:
        fields["audit_error"] = columns["error"][row]
    return fields


def _fiftyone() -> Any:
    try:
        return importlib.import_module("fiftyone")
    except ImportError as error:
        raise MissingExtraError("this needs fiftyone, which is not installed: pip install fiftyone") from error
