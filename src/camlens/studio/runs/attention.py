"""Where the model looks over a whole run: distributions, peaks, and the mean map of every class."""

from collections.abc import Iterator
from typing import get_args

import numpy as np
import torch
from jaxtyping import Bool, Float

from camlens.audit.findings.attention import Part, distribution, leans, map_parts, mean_maps, peaks
from camlens.studio.encoding import grid_values
from camlens.studio.jobs import Report
from camlens.studio.runs.opened import OpenRun
from camlens.studio.runs.rows import number
from camlens.studio.runs.schemas import AttentionView, ClassAttention, Leaning, Measure, Spread
from camlens.studio.schemas import GridValues

MEASURES: tuple[Measure, ...] = get_args(Measure)
_BINS = 25


def attention(run: OpenRun, label: int | None) -> AttentionView:
    """Return distributions and peaks over all images, or those predicted as one class."""
    outcomes = run.outcomes
    selected = ~outcomes.failed if label is None else outcomes.predicted == run.class_index(label)
    cells = run.audit.grid
    down, across = run.measure("peak_y"), run.measure("peak_x")
    has_evidence = np.isfinite(run.measure("entropy"))
    return AttentionView(
        images=int(selected.sum()),
        empty=int((selected & ~has_evidence).sum()),
        predicted=label,
        spreads=tuple(_spread(run, name, selected) for name in MEASURES),
        peaks_correct=_counts(peaks(down, across, selected & outcomes.correct, cells=cells)),
        peaks_incorrect=_counts(peaks(down, across, selected & outcomes.wrong, cells=cells)),
        leaning=tuple(
            Leaning.model_validate(lean)
            for name in ("corner_energy", "border_energy")
            for lean in leans(
                run.measure(name), outcomes.predicted, outcomes.classes, measure=name, grid=run.audit.grid
            )
        ),
    )


def class_attention(run: OpenRun, report: Report) -> tuple[ClassAttention, ...]:
    """Return every predicted class with its measures and its mean map, in order."""
    outcomes = run.outcomes

    def reported_parts() -> Iterator[Part]:
        done = 0
        for maps, classes in map_parts(run.audit, outcomes.predicted):
            report(done, len(run))
            done += len(maps)
            yield maps, classes

    means = mean_maps(reported_parts(), outcomes.classes, run.audit.grid)
    predicted = np.bincount(outcomes.predicted[~outcomes.failed], minlength=outcomes.classes)
    judged = np.bincount(outcomes.predicted[outcomes.judged], minlength=outcomes.classes)
    hits = np.bincount(outcomes.predicted[outcomes.correct], minlength=outcomes.classes)
    measured = {name: _class_means(run, run.measure(name)) for name in MEASURES}
    return tuple(
        ClassAttention(
            index=index,
            name=outcomes.name(index),
            images=int(predicted[index]),
            precision=float(hits[index] / judged[index]) if judged[index] else None,
            mean_map=None if np.isnan(means.maps[index]).any() else grid_values(torch.from_numpy(means.maps[index])),
            **{name: number(measured[name][index]) for name in MEASURES},
        )
        for index in range(outcomes.classes)
        if predicted[index]
    )


def _spread(run: OpenRun, name: Measure, selected: Bool[np.ndarray, " n"]) -> Spread:
    values = np.where(selected, run.measure(name), np.nan).astype(np.float32)
    spread = distribution(values, run.outcomes, bins=_BINS)
    return Spread(
        measure=name,
        edges=tuple(spread.edges.tolist()),
        correct=tuple(spread.counts["correct"].tolist()),
        incorrect=tuple(spread.counts["incorrect"].tolist()),
        unlabelled=tuple(spread.counts["unlabelled"].tolist()),
        mean_correct=number(spread.means["correct"]),
        mean_incorrect=number(spread.means["incorrect"]),
        mean_unlabelled=number(spread.means["unlabelled"]),
        superiority=number(spread.superiority),
    )


def _class_means(run: OpenRun, values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " classes"]:
    outcomes = run.outcomes
    usable = np.isfinite(values) & (outcomes.predicted >= 0)
    counts = np.bincount(outcomes.predicted[usable], minlength=outcomes.classes)
    sums = np.bincount(outcomes.predicted[usable], values[usable].astype(np.float64), minlength=outcomes.classes)
    means: Float[np.ndarray, " classes"] = np.full(outcomes.classes, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    return means


def _counts(counts: np.ndarray) -> GridValues:
    return grid_values(torch.from_numpy(counts.astype(np.float32)))
