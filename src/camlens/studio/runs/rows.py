"""Rows of the run for the API: outcome, maps, neighbors and likely reasons of an image."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from camlens.audit.findings.neighbours import nearest
from camlens.studio.encoding import grid_values
from camlens.studio.jobs import Report
from camlens.studio.runs.opened import NONE, OpenRun
from camlens.studio.runs.schemas import ErrorReason, MappedRow, NearRow, Neighbours, RowDetail
from camlens.studio.schemas import GridValues, Prediction


def number(value: float | np.floating[Any]) -> float | None:
    """Return the value, or None if it is not finite."""
    return float(value) if np.isfinite(value) else None


def mapped_rows(run: OpenRun, rows: Int[np.ndarray, " rows"]) -> tuple[MappedRow, ...]:
    """Return the rows with both maps."""
    return tuple(MappedRow(**fields) for fields in _fields(run, rows))


def near_rows(
    run: OpenRun, rows: Int[np.ndarray, " rows"], distances: Float[np.ndarray, " rows"]
) -> tuple[NearRow, ...]:
    """Return the neighbors with both maps; missing neighbors (-1) are skipped."""
    present = rows != NONE
    fields = _fields(run, rows[present])
    return tuple(
        NearRow(**row, distance=float(distance)) for row, distance in zip(fields, distances[present], strict=True)
    )


def _fields(run: OpenRun, rows: Int[np.ndarray, " rows"]) -> list[dict[str, Any]]:
    if len(rows) == 0:
        return []
    outcomes = run.outcomes
    predicted, true = run.maps.of(rows)
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
            "map_predicted": _grid(predicted[place]),
            "map_label": _grid(true[place]),
        }
        for place, row in enumerate(rows.tolist())
    ]


def _class(index: int) -> int | None:
    return None if index < 0 else index


def _grid(values: Float[np.ndarray, "h w"]) -> GridValues | None:
    return None if np.isnan(values[:1, :1]).any() else grid_values(torch.from_numpy(values))


NEAREST = 6
MEASURES = ("entropy", "border_energy", "corner_energy", "spread", "peak_y", "peak_x", "margin", "loss")


def row_detail(run: OpenRun, row: int, report: Report) -> RowDetail:
    """Return everything about one image: maps, top classes, measures, likely reasons and nearest correct images."""
    wrong = bool(run.outcomes.wrong[row])
    reasons = run.reasoner(report).reasons(row) if wrong else []
    return RowDetail(
        row=mapped_rows(run, np.array([row]))[0],
        top=_top(run, row),
        measures={name: number(run.measure(name)[row]) for name in MEASURES},
        reasons=tuple(ErrorReason.model_validate(reason) for reason in reasons),
        nearest=_nearest(run, row, run.outcomes.correct, report),
    )


def neighbours(run: OpenRun, row: int, report: Report) -> Neighbours:
    """Return an image with its nearest images, correct or not."""
    return Neighbours(
        row=mapped_rows(run, np.array([row]))[0],
        nearest=_nearest(run, row, np.ones(len(run), dtype=bool), report),
    )


def _nearest(run: OpenRun, row: int, candidates: Bool[np.ndarray, " n"], report: Report) -> tuple[NearRow, ...]:
    rows, distances = nearest(run.reasoner(report).directions, np.array([row]), NEAREST, candidates=candidates)
    return near_rows(run, rows[0], distances[0])


def _top(run: OpenRun, row: int) -> tuple[Prediction, ...]:
    classes, confidences = run.top
    return tuple(
        Prediction(index=int(index), name=run.outcomes.name(int(index)), confidence=float(confidence))
        for index, confidence in zip(classes[row], confidences[row], strict=True)
        if index >= 0
    )
