"""Rows of the run as the pages get them: what was said of an image, and its maps as numbers."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from camlens.studio.encoding import grid_values
from camlens.studio.runs.opened import NONE, OpenRun
from camlens.studio.runs.schemas import MappedRow, NearRow
from camlens.studio.schemas import GridValues


def number(value: float | np.floating[Any]) -> float | None:
    """The value as JSON has it: null where it is no number."""
    return float(value) if np.isfinite(value) else None


def mapped_rows(run: OpenRun, rows: Int[np.ndarray, " rows"]) -> tuple[MappedRow, ...]:
    """The rows with both maps, read together."""
    return tuple(MappedRow(**facts) for facts in _facts(run, rows))


def near_rows(
    run: OpenRun, rows: Int[np.ndarray, " rows"], distances: Float[np.ndarray, " rows"]
) -> tuple[NearRow, ...]:
    """Neighbours with both maps; places without one (-1) are left out."""
    there = rows != NONE
    facts = _facts(run, rows[there])
    return tuple(
        NearRow(**fact, distance=float(distance)) for fact, distance in zip(facts, distances[there], strict=True)
    )


def _facts(run: OpenRun, rows: Int[np.ndarray, " rows"]) -> list[dict[str, Any]]:
    if len(rows) == 0:
        return []
    outcomes = run.outcomes
    said, true = run.maps.of(rows)
    return [
        {
            "row": row,
            "name": str(run.names[row]),
            "sample": None if run.samples[row] == NONE else f"s{run.samples[row]}",
            "label": _class(int(outcomes.label[row])),
            "predicted": _class(int(outcomes.predicted[row])),
            "confidence": number(outcomes.confidence[row]),
            "label_confidence": number(run.measure("label_confidence")[row]),
            "error": run.errors[row],
            "map_predicted": _grid(said[place]),
            "map_label": _grid(true[place]),
        }
        for place, row in enumerate(rows.tolist())
    ]


def _class(index: int) -> int | None:
    return None if index < 0 else index


def _grid(values: Float[np.ndarray, "h w"]) -> GridValues | None:
    return None if np.isnan(values[:1, :1]).any() else grid_values(torch.from_numpy(values))
