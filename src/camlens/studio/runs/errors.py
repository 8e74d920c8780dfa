"""How often the model is right, and which errors to look at: answers from the run's columns alone."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from camlens.audit.findings import errors
from camlens.audit.findings.calibration import calibration
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import mapped_rows, number
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
class Wanted:
    """Which images: of a true class, a predicted class, right or wrong, and with a confidence in a closed range."""

    label: int | None = None
    prediction: int | None = None
    correct: bool | None = None
    least: float = 0.0
    most: float = 1.0


def overview(run: OpenRun) -> ErrorsOverview:
    """Accuracy, classes, confusions and calibration of the whole run."""
    outcomes = run.outcomes
    labels, predictions = np.nonzero(run.matrix)
    pairs = errors.confused_pairs(run.matrix)
    return ErrorsOverview(
        accuracy=_share(errors.accuracy(outcomes)),
        wrong=int(outcomes.wrong.sum()),
        classes=tuple(
            ClassShares(
                index=one.index,
                name=one.name,
                precision=_share(one.precision),
                recall=_share(one.recall),
                f1=number(one.f1),
            )
            for one in errors.per_class(outcomes)
        ),
        cells=ConfusionCells(
            labels=tuple(labels.tolist()),
            predictions=tuple(predictions.tolist()),
            counts=tuple(run.matrix[labels, predictions].tolist()),
        ),
        pairs=tuple(
            ConfusedPair(label=one.true, prediction=one.predicted, count=one.count, share=one.share)
            for one in pairs[:PAIRS]
        ),
        confused=len(pairs),
        calibration=_bins(run),
    )


def row_list(run: OpenRun, wanted: Wanted, *, offset: int, count: int) -> RowList:
    """The images that fit, most confident first, a page at a time."""
    rows = _selected(run, wanted)
    return RowList(matching=len(rows), offset=offset, rows=mapped_rows(run, rows[offset : offset + count]))


def gallery(run: OpenRun, wanted: Wanted, *, groups: int, each: int) -> ErrorGallery:
    """Errors that fit, `each` of the most frequent pairs, most confident first."""
    rows = _selected(run, replace(wanted, correct=False))
    fits = np.zeros(len(run), dtype=bool)
    fits[rows] = True
    outcomes = run.outcomes
    pairs = errors.confused_pairs(errors.confusion(replace(outcomes, predicted=np.where(fits, outcomes.predicted, -1))))
    labels, predictions = outcomes.label[rows], outcomes.predicted[rows]
    shown = [(pair, rows[(labels == pair.true) & (predictions == pair.predicted)][:each]) for pair in pairs[:groups]]
    mapped = iter(mapped_rows(run, np.concatenate([rows[:0], *(found for _, found in shown)])))
    return ErrorGallery(
        matching=len(rows),
        pairs=len(pairs),
        groups=tuple(
            PairGroup(
                label=pair.true,
                prediction=pair.predicted,
                count=pair.count,
                rows=tuple(next(mapped) for _ in found),
            )
            for pair, found in shown
        ),
    )


def _selected(run: OpenRun, wanted: Wanted) -> Int[np.ndarray, " rows"]:
    return errors.select(
        run.outcomes,
        true=run.class_index(wanted.label),
        predicted=run.class_index(wanted.prediction),
        correct=wanted.correct,
        confidence=(wanted.least, wanted.most),
    )


def _share(share: errors.Share) -> ShareOf:
    return ShareOf(value=number(share.value), low=share.low, high=share.high, hits=share.hits, total=share.total)


def _bins(run: OpenRun) -> CalibrationBins:
    found = calibration(run.outcomes)
    return CalibrationBins(
        edges=tuple(found.edges.tolist()),
        counts=tuple(found.counts.tolist()),
        accuracy=tuple(number(value) for value in found.accuracy.tolist()),
        confidence=tuple(number(value) for value in found.confidence.tolist()),
        ece=number(found.ece),
        mce=number(found.mce),
        overconfidence=number(found.overconfidence),
    )
