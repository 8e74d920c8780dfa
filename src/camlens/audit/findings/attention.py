"""Where the model looks over a dataset: distributions of measures, classes with evidence at the edge, mean maps.

These are descriptions of maps. Whether predictions depend on what is there, only a test on the model can tell.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int

from camlens.audit.findings.neighbours import Rows
from camlens.audit.findings.outcomes import Outcomes
from camlens.audit.findings.reading import NONE, Run
from camlens.audit.findings.significance import mann_whitney
from camlens.metrics.complexity import border_energy, corner_energy

Values = Float[np.ndarray, " n"]
Classes = Int[np.ndarray, " n"]
Part = tuple[np.ndarray, np.ndarray]
"""Signed maps (n, h, w) of some images, and the group (n,) of each; -1 is no group."""

QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)
CORNERS = ("upper left", "upper right", "lower left", "lower right")
CORNER_WIDTH = 0.2  # of metrics.corner_energy

_EDGES = {"corner_energy": corner_energy, "border_energy": border_energy}
_AT_ONCE = 8192
_FEWEST = 20
_TIMES, _DEVIATIONS = 1.5, 4.0


@dataclass(frozen=True, eq=False)
class Distribution:
    """The distribution of a measure of the maps, by correct, incorrect and unlabelled predictions.

    Attributes:
        edges: edges of the bins, which have equal width.
        counts, means: images per bin, and mean of the measure, by group.
        superiority: probability that an incorrect prediction has a higher value than a correct one, ties counted half
            (Mann and Whitney 1947); 0.5 is no difference, NaN if a group is empty.
        p: two-sided p-value of their test, not corrected for other measures; 1 if a group is empty.
    """

    edges: Float[np.ndarray, " edges"]
    counts: dict[str, Int[np.ndarray, " bins"]]
    means: dict[str, float]
    superiority: float
    p: float


def groups_of(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """Return masks of the images with a correct, an incorrect and an unlabelled prediction."""
    unlabelled = ~outcomes.failed & (outcomes.label == NONE)
    return {"correct": outcomes.correct, "incorrect": outcomes.wrong, "unlabelled": unlabelled}


def distribution(values: Values, outcomes: Outcomes, *, bins: int = 25) -> Distribution:
    """Return the distribution of a measure in [0, 1]. Higher values count as 1, NaN is left out."""
    finite = {name: values[mask & np.isfinite(values)] for name, mask in groups_of(outcomes).items()}
    edges = np.linspace(0, 1, bins + 1)
    return Distribution(
        edges,
        {name: np.histogram(np.clip(group, 0, 1), edges)[0] for name, group in finite.items()},
        {name: float(group.mean(dtype=np.float64)) if len(group) else float("nan") for name, group in finite.items()},
        superiority(finite["incorrect"], finite["correct"]),
        mann_whitney(finite["incorrect"], finite["correct"]),
    )


def superiority(first: Float[np.ndarray, " a"], second: Float[np.ndarray, " b"]) -> float:
    """Return the probability that a value of `first` exceeds one of `second`, ties counted half; NaN if empty."""
    if not len(first) or not len(second):
        return float("nan")
    ordered = np.sort(second)
    below = np.searchsorted(ordered, first, side="left")
    not_above = np.searchsorted(ordered, first, side="right")
    return float((below + not_above).sum() / (2 * len(first) * len(second)))


def quantiles(values: Values, classes: Classes, count: int) -> Float[np.ndarray, "classes quantiles"]:
    """Return the `QUANTILES` of a measure in each of `count` classes; NaN for a class without values."""
    points = np.full((count, len(QUANTILES)), np.nan)
    for index, rows in _members(classes, count, np.isfinite(values)):
        points[index] = np.quantile(values[rows].astype(np.float64), QUANTILES)
    return points


@dataclass(frozen=True)
class Lean:
    """A class whose evidence is concentrated in one part of the image.

    Attributes:
        index: the class.
        measure: share of the evidence in that part, "corner_energy" or "border_energy".
        mean, others: mean of the measure over images of the class, and over all other images.
        even: the measure of a uniform map on the same grid, to which cells at the edge are rounded.
        images: number of images of the class.
        deviations: difference of the means in standard errors (Welch 1947).
    """

    index: int
    measure: str
    mean: float
    others: float
    even: float
    images: int
    deviations: float


def leans(values: Values, classes: Classes, count: int, *, measure: str, grid: tuple[int, int]) -> list[Lean]:
    """Return classes whose mean exceeds that of all other images, by decreasing difference.

    It must exceed the measure of a uniform map, and that of the other images by half and by four standard errors.
    Classes with less than 20 images are left out.
    """
    even = even_share(measure, grid)
    usable = np.isfinite(values) & (classes >= 0)
    chosen, groups = values[usable].astype(np.float64), classes[usable]
    totals = np.bincount(groups, minlength=count)
    sums, squares = (np.bincount(groups, power, minlength=count) for power in (chosen, chosen**2))
    leaning = []
    for index in np.nonzero(totals >= _FEWEST)[0]:
        rest = len(chosen) - totals[index]
        if rest < _FEWEST:
            continue
        mean, others = sums[index] / totals[index], (chosen.sum() - sums[index]) / rest
        variances = (
            squares[index] / totals[index] - mean**2,
            ((chosen**2).sum() - squares[index]) / rest - others**2,
        )
        error = (max(variances[0], 0) / totals[index] + max(variances[1], 0) / rest) ** 0.5
        deviations = float((mean - others) / error) if error > 0 else float("inf")
        if mean > even and mean >= _TIMES * others and deviations >= _DEVIATIONS:
            leaning.append(Lean(int(index), measure, float(mean), float(others), even, int(totals[index]), deviations))
    return sorted(leaning, key=lambda lean: lean.others - lean.mean)


def even_share(measure: str, grid: tuple[int, int]) -> float:
    """Return "corner_energy" or "border_energy" of a uniform map: the share of the cells that count as the edge.

    It depends on how the width of the edge is rounded to cells: 0.08 of 7 x 7 cells are in the corners, 0.25 of 8 x 8.
    """
    return float(_EDGES[measure](torch.ones(1, *grid)))


def peaks(
    down: Values, across: Values, rows: np.ndarray, *, cells: tuple[int, int] = (8, 8)
) -> Int[np.ndarray, "cells_down cells_across"]:
    """Count the images of a mask `rows` whose map has its peak in each cell of the image."""
    finite = rows & np.isfinite(down) & np.isfinite(across)
    places = [
        np.clip((values[finite] * cell).astype(np.int64), 0, cell - 1)
        for values, cell in zip((down, across), cells, strict=True)
    ]
    return np.bincount(places[0] * cells[1] + places[1], minlength=cells[0] * cells[1]).reshape(cells)


@dataclass(frozen=True, eq=False)
class MeanMaps:
    """The mean map of each group. The positive evidence of each map is scaled to sum to 1, so that all weigh the same.

    Attributes:
        maps: mean maps; NaN for a group without maps.
        counts: number of maps with positive evidence, by group.
    """

    maps: Float[np.ndarray, "groups h w"]
    counts: Int[np.ndarray, " groups"]

    def corners(self, group: int, *, width: float = CORNER_WIDTH) -> dict[str, float]:
        """Return the share of a group's evidence in each corner, whose sides are `width` of the image's sides.

        With the default width, the shares sum to the mean of `metrics.corner_energy`.
        """
        down, across = (max(1, round(width * side)) for side in self.maps.shape[1:])
        parts = [(rows, columns) for rows in (slice(down), slice(-down, None)) for columns in _ends(across)]
        return {name: float(self.maps[group][part].sum()) for name, part in zip(CORNERS, parts, strict=True)}


def together(means: MeanMaps, *, without: int | None = None) -> MeanMaps:
    """Return the mean map of all groups as a single group, optionally `without` one of them."""
    counts = means.counts.copy()
    if without is not None:
        counts[without] = 0
    total = int(counts.sum())
    weighted = (np.nan_to_num(means.maps) * counts[:, None, None]).sum(axis=0, dtype=np.float64)
    whole = weighted / total if total else np.full(means.maps.shape[1:], np.nan)
    return MeanMaps(whole[None].astype(np.float32), np.array([total]))


def mean_maps(parts: Iterable[Part], groups: int, grid: tuple[int, int]) -> MeanMaps:
    """Return the mean maps of `groups` groups, from parts of a run."""
    sums, counts = np.zeros((groups, grid[0] * grid[1])), np.zeros(groups, dtype=np.int64)
    for maps, classes in parts:
        energy = np.maximum(maps.reshape(len(maps), -1).astype(np.float64), 0)
        totals = energy.sum(axis=1)
        usable = np.isfinite(totals) & (totals > 0) & (classes >= 0)
        shares = energy[usable] / totals[usable, None]
        for index, rows in _members(classes[usable], groups):
            sums[index] += shares[rows].sum(axis=0)
            counts[index] += len(rows)
    means = np.full(sums.shape, np.nan)
    np.divide(sums, counts[:, None], out=means, where=counts[:, None] > 0)
    return MeanMaps(means.reshape(groups, *grid).astype(np.float32), counts)


def map_parts(run: Run, classes: Classes) -> Iterable[Part]:
    """Yield all maps of the predicted classes with their groups, a part of the run at a time."""
    for start in range(0, len(run), _AT_ONCE):
        part = slice(start, min(start + _AT_ONCE, len(run)))
        yield run.maps(part, "predicted"), classes[part]


def _ends(width: int) -> tuple[slice, slice]:
    return slice(width), slice(-width, None)


def _members(classes: Classes, count: int, usable: np.ndarray | None = None) -> Iterable[tuple[int, Rows]]:
    """Yield each class that occurs, and its rows."""
    places = np.nonzero(classes >= 0 if usable is None else (classes >= 0) & usable)[0]
    places = places[np.argsort(classes[places], kind="stable")]
    starts = np.searchsorted(classes[places], np.arange(count + 1))
    for index in np.nonzero(np.diff(starts))[0]:
        yield int(index), places[starts[index] : starts[index + 1]]
