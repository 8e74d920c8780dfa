"""A run in memory with the interface of `camlens.audit.Audit` that findings use."""

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from camlens.core.errors import DataError
from camlens.metrics.complexity import border_energy, corner_energy, entropy, spread

NAMES = ("cat", "dog", "fish")
GRID = (5, 5)


@dataclass(frozen=True, eq=False)
class FakeRun:
    """Columns by name; embeddings, maps and images as arrays."""

    path: Path
    columns: dict[str, np.ndarray]
    features: np.ndarray
    map_predicted: np.ndarray
    map_label: np.ndarray
    class_names: tuple[str, ...] = NAMES
    manifest: Any = field(
        default_factory=lambda: SimpleNamespace(
            model="demo:photos",
            data="photos",
            method="gradcam",
            method_reason="set by the user",
            layer="last",
            layer_reason="it is the last",
            weights="0" * 64,
            weights_file="trained.safetensors",
            fingerprint="f",
            embedding="input of head",
            camlens="0",
            torch="2",
            created="2026-01-01T00:00:00+00:00",
            rows=0,
        )
    )
    gone: bool = False
    complete: bool = True
    missing: int = 0

    @property
    def grid(self) -> tuple[int, int]:
        return self.map_predicted.shape[1], self.map_predicted.shape[2]

    def __len__(self) -> int:
        return len(self.features)

    def column(self, name: str) -> np.ndarray:
        return self.columns[name].copy()

    def embeddings(self, rows: Any = None) -> np.ndarray:
        return self.features[slice(None) if rows is None else rows].astype(np.float32)

    def maps(self, rows: Any = None, which: Any = "predicted") -> np.ndarray:
        kept = self.map_label if which == "label" else self.map_predicted
        return kept[slice(None) if rows is None else rows].astype(np.float32)

    def image(self, row: int) -> np.ndarray:
        if self.gone:
            raise DataError(f"image {row} is gone")
        return np.full((12, 16, 3), row % 256, np.uint8)


def measured(maps: np.ndarray) -> dict[str, np.ndarray]:
    """Return the measures of maps, computed by the metrics."""
    given = torch.from_numpy(maps.astype(np.float32))
    measures = {
        measure.__name__: measure(given).numpy().astype(np.float32)
        for measure in (entropy, border_energy, corner_energy, spread)
    }
    height, width = maps.shape[1:]
    usable = np.isfinite(measures["corner_energy"])
    places = np.where(usable[:, None], np.nan_to_num(maps).reshape(len(maps), -1), 0).argmax(axis=1)
    for name, values, side in (("peak_y", places // width, height), ("peak_x", places % width, width)):
        measures[name] = np.where(usable, (values + 0.5) / side, np.nan).astype(np.float32)
        measures[name.replace("peak", "centre")] = measures[name]
    return measures


def fake_run(
    path: Path,
    label: list[int],
    predicted: list[int],
    confidence: list[float] | None = None,
    *,
    features: np.ndarray | None = None,
    maps: np.ndarray | None = None,
    **facts: Any,
) -> FakeRun:
    """Return a run of these outcomes; -1 is no label, and in `predicted` an unreadable image."""
    n, random = len(label), np.random.default_rng(0)
    answer = np.array(predicted, np.int64).reshape(n)
    failed = answer < 0
    sure = np.where(failed, np.nan, np.linspace(0.95, 0.55, n) if confidence is None else confidence)
    features = random.normal(size=(n, 8)) if features is None else features
    features = np.where(failed[:, None], np.nan, features)
    maps = random.random((n, *GRID)) if maps is None else maps
    maps = np.where(failed[:, None, None], np.nan, maps)
    truth = np.array(label, np.int64).reshape(n)
    others = (truth < 0) | (truth == answer) | failed
    names = facts.get("class_names", NAMES)
    second = np.where(failed, -1, (answer + 1) % len(names))
    columns = {
        "label": np.ma.MaskedArray(truth, truth < 0, fill_value=-1),
        "predicted": np.ma.MaskedArray(answer, failed, fill_value=-1),
        "confidence": sure.astype(np.float32),
        "margin": (2 * sure - 1).astype(np.float32),
        "id": np.array([f"{row:03d}.png" for row in range(n)], object),
        "error": np.array(["cannot be decoded" if bad else None for bad in failed], object),
        "top_classes": np.stack([answer, second], axis=1),
        "top_confidences": np.stack([sure, 1 - sure], axis=1).astype(np.float32),
        **(measured(maps) if n else {}),
    }
    if not n:
        columns |= {name: np.zeros(0, np.float32) for name in measured(np.ones((1, *GRID)))}
    reversed_maps = np.where(others[:, None, None], np.nan, maps[:, ::-1, ::-1])
    return FakeRun(path, columns, features.astype(np.float16), maps.astype(np.float32), reversed_maps, **facts)
