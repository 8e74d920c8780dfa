"""Accuracy and errors of a run, computed from its columns."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from camlens.audit.findings import errors
from camlens.audit.findings.calibration import calibration
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import mapped_rows
from camlens.studio.runs.schemas import (
    CalibrationBins,
    ClassShares,
    ConfusedPair,
    ConfusionCells,
    ErrorGallery,
    ErrorsOverview,
    PairGroup,
    RowList,
    ShareOf,
)

PAIRS = 60
OVERVIEW = ("audit overview",)


@dataclass(frozen=True)
class RowFilter:
    """Filter by true class, predicted class, correctness, and confidence between `least` and `most`."""

    label: int | None = None
    prediction: int | None = None
    correct: bool | None = None
    least: float = 0.0
    most: float = 1.0


def overview(run: OpenRun) -> ErrorsOverview:
    """Return accuracy, classes, confusions and calibration of the whole run."""
    outcomes = run.outcomes
    labels, predictions = np.nonzero(run.matrix)
    pairs = errors.confused_pairs(run.matrix)
    return ErrorsOverview(
        accuracy=ShareOf.model_validate(errors.accuracy(outcomes)),
        wrong=int(outcomes.wrong.sum()),
        classes=tuple(ClassShares.model_validate(scores) for scores in errors.per_class(outcomes)),
        cells=ConfusionCells(
            labels=tuple(labels.tolist()),
            predictions=tuple(predictions.tolist()),
            counts=tuple(run.matrix[labels, predictions].tolist()),
        ),
        pairs=tuple(
            ConfusedPair(label=pair.true, prediction=pair.predicted, count=pair.count, share=pair.share)
            for pair in pairs[:PAIRS]
        ),
        confused=len(pairs),
        calibration=_bins(run),
    )


def row_list(run: OpenRun, wanted: RowFilter, *, offset: int, count: int) -> RowList:
    """Return a page of the matching images, most confident first."""
    rows = _selected(run, wanted)
    return RowList(matching=len(rows), offset=offset, rows=mapped_rows(run, rows[offset : offset + count]))


def gallery(run: OpenRun, wanted: RowFilter, *, groups: int, each: int) -> ErrorGallery:
    """Return matching errors of the most frequent pairs, `each` per pair, most confident first."""
    rows = _selected(run, replace(wanted, correct=False))
    selected = np.zeros(len(run), dtype=bool)
    selected[rows] = True
    outcomes = run.outcomes
    matching = replace(outcomes, predicted=np.where(selected, outcomes.predicted, -1))
    pairs = errors.confused_pairs(errors.confusion(matching))
    labels, predictions = outcomes.label[rows], outcomes.predicted[rows]
    shown = [(pair, rows[(labels == pair.true) & (predictions == pair.predicted)][:each]) for pair in pairs[:groups]]
    mapped = iter(mapped_rows(run, np.concatenate([rows[:0], *(shown_rows for _, shown_rows in shown)])))
    return ErrorGallery(
        matching=len(rows),
        pairs=len(pairs),
        groups=tuple(
            PairGroup(
                label=pair.true,
                prediction=pair.predicted,
                count=pair.count,
                rows=tuple(next(mapped) for _ in shown_rows),
            )
            for pair, shown_rows in shown
        ),
    )


def _selected(run: OpenRun, wanted: RowFilter) -> Int[np.ndarray, " rows"]:
    return errors.select(
        run.outcomes,
        true=run.class_index(wanted.label),
        predicted=run.class_index(wanted.prediction),
        correct=wanted.correct,
        confidence=(wanted.least, wanted.most),
    )


def _bins(run: OpenRun) -> CalibrationBins:
    bins = calibration(run.outcomes)
    return CalibrationBins(
        edges=tuple(bins.edges.tolist()),
        counts=tuple(bins.counts.tolist()),
        accuracy=tuple(bins.accuracy.tolist()),
        confidence=tuple(bins.confidence.tolist()),
        ece=bins.ece,
        mce=bins.mce,
        overconfidence=bins.overconfidence,
    )
