"""How often the model is right, class by class and pair by pair, and which errors to look at first."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from jaxtyping import Int

from camlens.audit.findings.outcomes import Outcomes, Rows
from camlens.core.errors import InputError

Matrix = Int[np.ndarray, "classes classes"]


@dataclass(frozen=True)
class Share:
    """`hits` of `total`, with the interval that Wilson's score gives (1927, JASA 22): it holds near 0 and 1 too."""

    hits: int
    total: int

    @property
    def value(self) -> float:
        """The share itself, NaN of nothing."""
        return self.hits / self.total if self.total else float("nan")

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval."""
        return wilson(self.hits, self.total)[0]

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval."""
        return wilson(self.hits, self.total)[1]

    def to_dict(self) -> dict[str, float | int | None]:
        """As plain values, None for what is not a number."""
        value = self.value if self.total else None
        return {"value": value, "low": self.low, "high": self.high, "hits": self.hits, "total": self.total}


def wilson(hits: int, total: int, *, level: float = 0.95) -> tuple[float, float]:
    """The interval of a share at a confidence level: centre (p + z²/2n) / (1 + z²/n). Of nothing it is (0, 1)."""
    if not 0 <= hits <= total:
        raise InputError(
            f"{hits} hits of {total} cannot be: give 0 or more, and no more than all",
            code="argument.invalid",
            name="hits",
            value=hits,
        )
    if not 0 < level < 1:
        raise InputError(
            f"level must lie between 0 and 1, not at {level}: 0.95 is usual",
            code="argument.invalid",
            name="level",
            value=level,
        )
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = hits / total, z * z / total
    centre = (share + weight / 2) / (1 + weight)
    half = (weight * share * (1 - share) + weight * weight / 4) ** 0.5 / (1 + weight)
    return max(centre - half, 0.0) if hits else 0.0, min(centre + half, 1.0) if hits < total else 1.0


@dataclass(frozen=True)
class ClassReport:
    """One class: of what is called so how much is right, and of what is so how much is found."""

    index: int
    name: str
    precision: Share
    recall: Share

    @property
    def f1(self) -> float:
        """2 hits / (called + are), NaN where the class neither occurs nor is predicted."""
        both = self.precision.total + self.recall.total
        return 2 * self.recall.hits / both if both else float("nan")


@dataclass(frozen=True)
class Pair:
    """`count` images of class `true` are taken for `predicted`: `share` of all judged images of `true`."""

    true: int
    predicted: int
    count: int
    share: float


def accuracy(outcomes: Outcomes) -> Share:
    """The share of judged images that are right; images without a label or a prediction do not count."""
    return Share(int(outcomes.correct.sum()), int(outcomes.judged.sum()))


def confusion(outcomes: Outcomes) -> Matrix:
    """How many images of each class (rows) were given each class (columns)."""
    classes, judged = outcomes.classes, outcomes.judged
    cells = outcomes.label[judged] * classes + outcomes.predicted[judged]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def per_class(outcomes: Outcomes) -> list[ClassReport]:
    """Precision and recall of every class, in the order of their numbers."""
    matrix = confusion(outcomes)
    hits, called, present = matrix.diagonal(), matrix.sum(axis=0), matrix.sum(axis=1)
    return [
        ClassReport(
            index,
            outcomes.name(index),
            Share(int(hits[index]), int(called[index])),
            Share(int(hits[index]), int(present[index])),
        )
        for index in range(len(matrix))
    ]


def confused_pairs(matrix: Matrix, *, most: int | None = None) -> list[Pair]:
    """Pairs of classes that are confused, the most frequent first; equal ones in the order of their numbers."""
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
    """Rows of images that fit all that is asked for, most confident first; failed images never fit.

    `confidence` is a closed range. `correct` and `true` leave out images without a label.
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
    """The rows by falling confidence; equal ones in the order of the run."""
    return rows[np.lexsort((rows, -outcomes.confidence[rows].astype(np.float64)))]


def stratified(outcomes: Outcomes, *, most: int = 240, per_pair: int = 12) -> dict[tuple[int, int], Rows]:
    """Errors to look at, for each confusion pair the most confident first, so that no pair hides the others.

    Pairs take turns, the most frequent first: every pair gives one image before any gives two, up to
    `per_pair` each and `most` altogether. Keys are (true, predicted), in the order of their frequency.
    """
    if most < 1 or per_pair < 1:
        raise InputError(
            f"most={most} and per_pair={per_pair} leave no image to see: give 1 or more",
            code="argument.invalid",
            name="most",
            value=most,
        )
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
