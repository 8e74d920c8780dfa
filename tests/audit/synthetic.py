"""A synthetic run on disk, for tests and benchmarks that read runs.

    audit = synthetic_run(tmp_path / "run", rows=1000)

Classes lie around seeded centres in feature space; a tenth of the images is taken for another class, mostly
for the next is_broken; maps are bumps, which lie in the lower right corner for images of the last class. Every 97th
row has an error, every 50th no label.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import camlens.audit
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.plan import Plan, PlannedImage
from camlens.audit.store.run_directory import RunDirectory
from camlens.audit.store.schema import row_schema, rows_table

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibis", "jay")


def synthetic_run(
    directory: Path,
    rows: int = 1000,
    *,
    classes: int = 10,
    width: int = 64,
    grid: tuple[int, int] = (7, 7),
    shard_size: int = 1024,
    seed: int = 0,
    leave_out: tuple[int, ...] = (),
    data: str | None = None,
) -> camlens.audit.Audit:
    """Write a run without the shards in `leave_out`, and open it. Its rows have no images."""
    facts = manifest(rows, classes=classes, width=width, grid=grid, shard_size=shard_size, seed=seed, data=data)
    plan = Plan([PlannedImage(f"image-{index:06d}", index % classes, None) for index in range(rows)])
    run = RunDirectory(directory)
    run.begin(plan, facts)
    for shard in set(range(facts.shards)) - set(leave_out):
        places = facts.shard_rows(shard)
        run.write_shard(shard, rows_table(columns(places, facts), row_schema(width, grid)), facts)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", camlens.audit.IncompleteRunWarning)
        return camlens.audit.open(directory)


def manifest(
    rows: int,
    *,
    classes: int = 10,
    width: int = 64,
    grid: tuple[int, int] = (7, 7),
    shard_size: int = 1024,
    seed: int = 0,
    data: str | None = None,
) -> Manifest:
    names = tuple(NAMES[index] if index < len(NAMES) else f"class {index}" for index in range(classes))
    return Manifest(
        model="tests:synthetic",
        model_type="Synthetic",
        weights="sha256:0",
        transform="none",
        method="gradcam",
        layer="layer4",
        layer_reason="asked for",
        embedding="input of fc",
        embedding_width=width,
        grid=grid,
        input_size=(224, 224),
        class_names=names,
        labels="by name",
        data=data,
        fingerprint="sha256:0",
        rows=rows,
        shard_size=shard_size,
        batch_size=32,
        limit=None,
        seed=seed,
        top_k=min(5, classes),
        camlens="0",
        torch="0",
        created="2026-01-01T00:00:00+00:00",
    )


def columns(places: range, facts: Manifest) -> dict[str, Any]:
    """Return the columns of the rows at `places`, which do not depend on the shard size."""
    names, (height, width) = facts.class_names, facts.grid
    classes, count = len(names), len(places)
    index = np.asarray(places)
    draw = np.stack([_draws(facts.seed, place) for place in places])  # (n, 8) in [0, 1)
    truth = index % classes
    wrong = draw[:, 0] < 0.1
    other = np.where(draw[:, 1] < 0.7, 1, 1 + (draw[:, 2] * (classes - 1)).astype(int) % max(1, classes - 1))
    predicted = np.where(wrong, (truth + other) % classes, truth)
    confidence = np.where(wrong, 0.35 + 0.5 * draw[:, 3], 0.5 + 0.5 * draw[:, 3]).astype(np.float32)
    label = np.where(index % 50 == 49, -1, truth)
    rest = (1 - confidence) * 0.6
    label_confidence = np.where(label < 0, np.nan, np.where(predicted == truth, confidence, rest))
    shown = min(5, classes)
    order = (truth[:, None] + np.arange(classes)) % classes
    others = order[order != predicted[:, None]].reshape(count, classes - 1)
    top = np.concatenate([predicted[:, None], others[:, : shown - 1]], axis=1)
    maps = _bumps(height, width, np.where(predicted == classes - 1, 0.9, 0.25 + 0.5 * draw[:, 4:6].T))
    label_maps = _bumps(height, width, 0.25 + 0.5 * draw[:, 5:7].T)
    label_maps[(predicted == truth) | (label < 0)] = np.nan
    broken = index % 97 == 96
    columns: dict[str, Any] = {
        "index": index,
        "id": [f"image-{place:06d}" for place in places],
        "path": [f"images/image-{place:06d}.jpg" for place in places],
        "label": label,
        "predicted": np.where(broken, -1, predicted),
        "confidence": confidence,
        "label_confidence": label_confidence,
        "margin": confidence - rest,
        "loss": -np.log(label_confidence),
        "embedding": _features(index, truth, predicted, draw, facts),
        "map_predicted": maps.reshape(count, -1),
        "map_label": label_maps.reshape(count, -1),
        "map_predicted_scale": np.ones(count, np.float32),
        "map_label_scale": np.where(np.isnan(label_maps[:, 0, 0]), np.nan, 0.5),
        "inside_energy": draw[:, 7],
        "width": np.full(count, 320),
        "height": np.full(count, 240),
        "error": ["the file is damaged" if is_broken else None for is_broken in broken],
        "top_classes": [None if bad else row.tolist() for row, bad in zip(top, broken, strict=True)],
        "top_confidences": [
            None if bad else [float(is_broken), *np.linspace(float(left), 0, shown - 1).tolist()]
            for is_broken, left, bad in zip(confidence, rest, broken, strict=True)
        ],
        **_measures(maps),
    }
    for name, values in columns.items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            values = values.astype(np.float32)
            values[broken] = np.nan
            columns[name] = values
    for name in ("width", "height"):
        columns[name] = np.where(broken, -1, columns[name])
    return columns


def _draws(seed: int, place: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, place]).random(8)


def _features(
    index: NDArray[Any], truth: NDArray[Any], predicted: NDArray[Any], draw: NDArray[Any], facts: Manifest
) -> NDArray[np.float32]:
    """Return noise around the center of the class, or half-way to that of the predicted class."""
    centres = np.random.default_rng([facts.seed, 1]).normal(size=(len(facts.class_names), facts.embedding_width)) * 2
    noise = np.stack([np.random.default_rng([facts.seed, int(i), 2]).normal(size=facts.embedding_width) for i in index])
    features: NDArray[np.float32] = (0.5 * centres[truth] + 0.5 * centres[predicted] + noise).astype(np.float32)
    return features


def _bumps(height: int, width: int, centres: NDArray[Any]) -> NDArray[np.float32]:
    """Return a Gaussian bump per row around (y, x) in `centres` (2, n), with maximum 1."""
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    away = (y[None, :, None] - centres[0][:, None, None]) ** 2 + (x[None, None, :] - centres[1][:, None, None]) ** 2
    maps = np.exp(-away / 0.03).astype(np.float32)
    bumps: NDArray[np.float32] = maps / maps.max(axis=(1, 2), keepdims=True)
    return bumps


def _measures(maps: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    """Return the measures of nonnegative maps."""
    count, height, width = maps.shape
    share = maps / maps.sum(axis=(1, 2), keepdims=True)
    y, x = (np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width
    centre_y, centre_x = (share.sum(axis=2) * y).sum(axis=1), (share.sum(axis=1) * x).sum(axis=1)
    rim = np.zeros((height, width), int)
    rim[[0, -1]] += 1
    rim[:, [0, -1]] += 1
    flat = share.reshape(count, -1)
    best = flat.argmax(axis=1)
    moment = (share.sum(axis=2) * y**2).sum(axis=1) + (share.sum(axis=1) * x**2).sum(axis=1) - centre_y**2 - centre_x**2
    with np.errstate(divide="ignore", invalid="ignore"):
        entropy = -np.where(flat > 0, flat * np.log(flat), 0).sum(axis=1) / np.log(flat.shape[1])
    return {
        "entropy": entropy,
        "border_energy": (share * (rim >= 1)).sum(axis=(1, 2)),
        "corner_energy": (share * (rim == 2)).sum(axis=(1, 2)),
        "centre_y": centre_y,
        "centre_x": centre_x,
        "spread": np.sqrt(np.maximum(moment, 0) / (np.var(y) + np.var(x))),
        "peak_y": y[best // width],
        "peak_x": x[best % width],
    }
