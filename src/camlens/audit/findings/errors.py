"""Accuracy by class, confusions, and the selection of errors to show."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Int

from camlens.audit.findings.outcomes import Outcomes, Rows

Matrix = Int[np.ndarray, "classes classes"]

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """A proportion, `hits` of `total`, with its Wilson score interval."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The proportion; NaN if the total is 0."""
        return self.hits / self.total if self.total else float("nan")

    @property
    def low(self) -> float:
        """The lower bound of the 95 % interval."""
        return wilson(self.hits, self.total)[0]

    @property
    def high(self) -> float:
        """The upper bound of the 95 % interval."""
        return wilson(self.hits, self.total)[1]

    def to_dict(self) -> dict[str, float | int | None]:
        """Return value, interval and counts, with None for NaN."""
        value = self.value if self.total else None
        return {"value": value, "low": self.low, "high": self.high, "hits": self.hits, "total": self.total}


def wilson(hits: int, total: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval (1927, JASA 22), centered at (p + z²/2n) / (1 + z²/n)."""
    if total == 0:
        return 0.0, 1.0
    share, weight = hits / total, _Z * _Z / total
    center = (share + weight / 2) / (1 + weight)
    half = (weight * share * (1 - share) + weight * weight / 4) ** 0.5 / (1 + weight)
    return max(center - half, 0.0) if hits else 0.0, min(center + half, 1.0) if hits < total else 1.0


@dataclass(frozen=True)
class ClassReport:
    """Precision and recall of a class."""

    index: int
    name: str
    precision: Share
    recall: Share

    @property
    def f1(self) -> float:
        """The F1 score; NaN if the class neither occurs nor is predicted."""
        both = self.precision.total + self.recall.total
        return 2 * self.recall.hits / both if both else float("nan")


@dataclass(frozen=True)
class Pair:
    """A confusion: `count` images of class `true` are predicted as `predicted`, a `share` of the images of `true`."""

    true: int
    predicted: int
    count: int
    share: float


def accuracy(outcomes: Outcomes) -> Share:
    """Return the proportion of correct predictions; images without a label or a prediction do not count."""
    return Share(int(outcomes.correct.sum()), int(outcomes.judged.sum()))


def confusion(outcomes: Outcomes) -> Matrix:
    """Return the confusion matrix: true classes in rows, predicted classes in columns."""
    classes, judged = outcomes.classes, outcomes.judged
    cells = outcomes.label[judged] * classes + outcomes.predicted[judged]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def per_class(outcomes: Outcomes) -> list[ClassReport]:
    """Return precision and recall of every class, in the order of the classes."""
    matrix = confusion(outcomes)
    hits, predicted, present = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    return [
        ClassReport(
            index,
            outcomes.name(index),
            Share(int(hits[index]), int(predicted[index])),
            Share(int(hits[index]), int(present[index])),
        )
        for index in range(len(matrix))
    ]


def confused_pairs(matrix: Matrix, *, most: int | None = None) -> list[Pair]:
    """Return the confusions, the most frequent first; ties in the order of the classes."""
    present = matrix.sum(axis=1)
    true, predicted = np.nonzero(matrix * ~np.eye(len(matrix), dtype=bool))
    counts = matrix[true, predicted]
    order = np.lexsort((predicted, true, -counts))[:most]
    return [
        Pair(int(true[at]), int(predicted[at]), int(counts[at]), float(counts[at] / present[true[at]])) for at in order
    ]


def select(
    outcomes: Outcomes,
    *,
    true: int | None = None,
    predicted: int | None = None,
    correct: bool | None = None,
    confidence: tuple[float, float] = (0.0, 1.0),
) -> Rows:
    """Return the rows that meet all conditions, the most confident first. Images without a prediction never do.

    Args:
        outcomes: the outcomes of a run.
        true, predicted: true and predicted class.
        correct: True for correct, False for incorrect predictions; unlabelled images are neither.
        confidence: closed interval of the confidence.
    """
    low, high = confidence
    fits = (outcomes.predicted >= 0) & (outcomes.confidence >= low) & (outcomes.confidence <= high)
    if true is not None:
        fits &= outcomes.label == true
    if predicted is not None:
        fits &= outcomes.predicted == predicted
    if correct is not None:
        fits &= outcomes.correct if correct else outcomes.wrong
    return most_confident_first(outcomes, np.nonzero(fits)[0])


def most_confident_first(outcomes: Outcomes, rows: Rows) -> Rows:
    """Return the rows by decreasing confidence; ties in the order of the run."""
    return rows[np.lexsort((rows, -outcomes.confidence[rows].astype(np.float64)))]


def stratified(outcomes: Outcomes, *, most: int = 240, per_pair: int = 12) -> dict[tuple[int, int], Rows]:
    """Select errors of every confusion, so that frequent confusions do not hide rare ones.

    Confusions take turns, the most frequent first, until there are `most` images in total or `per_pair` of each.

    Returns:
        Rows by (true, predicted), the most confident first; keys in the order of their frequency.
    """
    rows = most_confident_first(outcomes, np.nonzero(outcomes.wrong)[0])
    piles: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row in rows.tolist():
        piles[int(outcomes.label[row]), int(outcomes.predicted[row])].append(row)
    order = sorted(piles, key=lambda pair: (-len(piles[pair]), pair))
    turns = [(turn, place) for place, pair in enumerate(order) for turn in range(min(len(piles[pair]), per_pair))]
    taken: dict[tuple[int, int], int] = defaultdict(int)
    for _, place in sorted(turns)[:most]:
        taken[order[place]] += 1
    return {pair: np.array(piles[pair][: taken[pair]], dtype=np.int64) for pair in order if taken[pair]}
