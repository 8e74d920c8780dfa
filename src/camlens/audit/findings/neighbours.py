"""Who is near whom in feature space. Features count by their direction: all are scaled to length 1 first."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from camlens.core.errors import InputError

Rows = Int[np.ndarray, " rows"]
Features = Float[np.ndarray, "n d"]
Directions = Float[np.ndarray, "n d"]
"""Features of length 1, float32, as `unit` makes them; NaN in rows that have none."""

_NOBODY = -1
_AT_ONCE = 8192


def unit(features: Features) -> Directions:
    """The features, float32, each divided by its length; a row that is zero or not finite becomes NaN."""
    values = features.astype(np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
    lengths = np.where(np.isfinite(lengths) & (lengths > 0), lengths, np.nan)
    values /= lengths[:, None].astype(np.float32)
    return values


def usable(directions: Directions) -> Bool[np.ndarray, " n"]:
    """Rows that have a direction; the others are NaN throughout."""
    found: Bool[np.ndarray, " n"] = ~np.isnan(directions[:, :1]).any(axis=1)
    return found


def nearest(
    directions: Directions, queries: Rows, k: int, *, candidates: Bool[np.ndarray, " n"] | None = None
) -> tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """The `k` nearest images of each query row, by brute force, and the distances, nearest first.

    The distance is the Euclidean one, from 0 to 2. A query is never its own neighbour, ties go to the lower
    row, and where there are fewer than `k` the row is -1 and the distance NaN. `candidates` says which rows
    may be neighbours, all where None.
    """
    if k < 1:
        raise InputError(f"k={k} asks for no neighbours: give 1 or more", code="argument.invalid", name="k", value=k)
    rows = np.full((len(queries), k), _NOBODY, dtype=np.int64)
    squares = np.full((len(queries), k), np.inf, dtype=np.float32)
    asked = directions[queries]
    for start in range(0, len(directions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        found = 2 - 2 * asked @ directions[part].T
        found[np.isnan(found)] = np.inf
        if candidates is not None:
            found[:, ~candidates[part]] = np.inf
        own = (queries >= start) & (queries < start + found.shape[1])
        found[np.nonzero(own)[0], queries[own] - start] = np.inf
        for query in range(len(queries)):
            _keep(rows[query], squares[query], found[query], start)
    rows[np.isinf(squares)] = _NOBODY
    distances = np.sqrt(np.maximum(squares, 0))
    return rows, np.where(np.isinf(distances), np.float32(np.nan), distances)


def _keep(
    rows: Int[np.ndarray, " k"], squares: Float[np.ndarray, " k"], found: Float[np.ndarray, " part"], start: int
) -> None:
    """Put what is nearer than the farthest of the k best into them, in place; equals stay in rising order."""
    edge = squares[-1]
    if len(found) > len(rows):
        edge = min(edge, np.partition(found, len(rows) - 1)[len(rows) - 1])
    near = np.nonzero(found <= edge)[0] if np.isfinite(edge) else np.nonzero(np.isfinite(found))[0]
    names, values = np.concatenate([rows, near + start]), np.concatenate([squares, found[near]])
    order = np.lexsort((names, values))[: len(rows)]
    rows[:], squares[:] = names[order], values[order]


@dataclass(frozen=True, eq=False)
class Territory:
    """Where each class lies: the mean direction of its correctly recognised images, and how far these stray.

    `centres` is (classes, d), NaN where no image of the class was recognised; `strays` holds per class the
    sorted distances of those images from their centre.
    """

    centres: Float[np.ndarray, "classes d"]
    strays: tuple[Float[np.ndarray, "_"], ...]

    @classmethod
    def of(
        cls,
        directions: Directions,
        label: Int[np.ndarray, " n"],
        correct: Bool[np.ndarray, " n"],
        classes: int,
    ) -> "Territory":
        """The territories of all classes."""
        members = np.nonzero(correct & usable(directions))[0]
        counts = np.bincount(label[members], minlength=classes)
        sums = np.zeros((classes, directions.shape[1]))
        for index in np.nonzero(counts)[0]:
            for part in np.array_split(members[label[members] == index], max(counts[index] // _AT_ONCE, 1)):
                sums[index] += directions[part].sum(axis=0, dtype=np.float64)
        centres = np.full(sums.shape, np.nan)
        np.divide(sums, counts[:, None], out=centres, where=counts[:, None] > 0)
        made = cls(centres.astype(np.float32), ())
        distances = made.distance(directions, members, label[members])
        return cls(made.centres, tuple(np.sort(distances[label[members] == index]) for index in range(classes)))

    def distance(
        self, directions: Directions, rows: Rows, classes: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, " rows"]:
        """How far each row is from the centre of a class; NaN where there is no centre or no direction."""
        found = np.full(len(rows), np.nan, dtype=np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            found[part] = np.linalg.norm(directions[rows[part]] - self.centres[classes[part]], axis=1)
        return found

    def farther_than(self, distance: float | np.floating, index: int) -> float:
        """The share of the class's recognised images that are nearer to its centre than this."""
        strays = self.strays[index]
        return float(np.searchsorted(strays, distance) / len(strays)) if len(strays) else float("nan")
