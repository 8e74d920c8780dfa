"""One image of the run in full, and who is near it in feature space."""

import numpy as np
from jaxtyping import Bool

from camlens.audit.findings.neighbours import nearest
from camlens.studio.jobs import Report
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import mapped_rows, near_rows, number
from camlens.studio.runs.schemas import ErrorReason, NearRow, Neighbours, RowDetail
from camlens.studio.schemas import Prediction

NEAREST = 6
MEASURES = ("entropy", "border_energy", "corner_energy", "spread", "peak_y", "peak_x", "margin", "loss")


def row_detail(run: OpenRun, row: int, report: Report) -> RowDetail:
    """Both maps, the best classes, what the map measures, likely reasons, and the nearest recognised images."""
    wrong = bool(run.outcomes.wrong[row])
    reasons = run.reasoner(report).reasons(row) if wrong else []
    return RowDetail(
        row=mapped_rows(run, np.array([row]))[0],
        top=_top(run, row),
        measures={name: number(run.measure(name)[row]) for name in MEASURES},
        reasons=tuple(
            ErrorReason(kind=reason.kind, sentence=reason.sentence, strength=reason.strength) for reason in reasons
        ),
        nearest=_nearest(run, row, run.outcomes.correct, report),
    )


def neighbours(run: OpenRun, row: int, report: Report) -> Neighbours:
    """The nearest images of all, right or wrong."""
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
