"""Nearest neighbors and class centers in feature space. Features are compared by direction, at unit length."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Rows = Int[np.ndarray, " rows"]
Features = Float[np.ndarray, "n d"]
Directions = Float[np.ndarray, "n d"]
"""Features of unit length, float32, as returned by `unit`; NaN in rows without features."""

_NOBODY = -1
_AT_ONCE = 8192


def unit(features: Features) -> Directions:
    """Return the features scaled to unit length, float32; NaN for rows that are zero or not finite."""
    values = features.astype(np.float32)
    lengths = np.sqrt(np.einsum("nd,nd->n", values, values, dtype=np.float64))
    lengths = np.where(np.isfinite(lengths) & (lengths > 0), lengths, np.nan)
    values /= lengths[:, None].astype(np.float32)
    return values


def usable(directions: Directions) -> Bool[np.ndarray, " n"]:
    """Return a mask of the rows that are not NaN."""
    mask: Bool[np.ndarray, " n"] = ~np.isnan(directions[:, :1]).any(axis=1)
    return mask


def nearest(
    directions: Directions, queries: Rows, k: int, *, candidates: Bool[np.ndarray, " n"] | None = None
) -> tuple[Int[np.ndarray, "queries k"], Float[np.ndarray, "queries k"]]:
    """Return the `k` nearest rows of each query and their distances, the nearest first, by brute force.

    Distances are Euclidean, from 0 to 2. A query is not its own neighbor, and ties go to the lower row. If there are
    fewer than `k` neighbors, the rest is row -1 at distance NaN. `candidates` is a mask of possible neighbors.
    """
    rows = np.full((len(queries), k), _NOBODY, dtype=np.int64)
    squares = np.full((len(queries), k), np.inf, dtype=np.float32)
    asked = directions[queries]
    for start in range(0, len(directions), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        squared = 2 - 2 * asked @ directions[part].T
        squared[np.isnan(squared)] = np.inf
        if candidates is not None:
            squared[:, ~candidates[part]] = np.inf
        own = (queries >= start) & (queries < start + squared.shape[1])
        squared[np.nonzero(own)[0], queries[own] - start] = np.inf
        for query in range(len(queries)):
            _merge(rows[query], squares[query], squared[query], start)
    rows[np.isinf(squares)] = _NOBODY
    distances = np.sqrt(np.maximum(squares, 0))
    return rows, np.where(np.isinf(distances), np.float32(np.nan), distances)


def _merge(
    rows: Int[np.ndarray, " k"], squares: Float[np.ndarray, " k"], others: Float[np.ndarray, " part"], start: int
) -> None:
    """Merge the squared distances of a part of the rows into the k smallest so far, in place; ties by row."""
    limit = squares[-1]
    if len(others) > len(rows):
        limit = min(limit, np.partition(others, len(rows) - 1)[len(rows) - 1])
    near = np.nonzero(others <= limit)[0] if np.isfinite(limit) else np.nonzero(np.isfinite(others))[0]
    merged, values = np.concatenate([rows, near + start]), np.concatenate([squares, others[near]])
    order = np.lexsort((merged, values))[: len(rows)]
    rows[:], squares[:] = merged[order], values[order]


@dataclass(frozen=True, eq=False)
class Territory:
    """The center of each class in feature space.

    Attributes:
        centres: mean direction of the correctly predicted images of each class; NaN if there are none.
        strays: sorted distances of these images from the center, by class.
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
        """Compute the centers of all classes."""
        members = np.nonzero(correct & usable(directions))[0]
        counts = np.bincount(label[members], minlength=classes)
        sums = np.zeros((classes, directions.shape[1]))
        for index in np.nonzero(counts)[0]:
            for part in np.array_split(members[label[members] == index], max(counts[index] // _AT_ONCE, 1)):
                sums[index] += directions[part].sum(axis=0, dtype=np.float64)
        centres = np.full(sums.shape, np.nan)
        np.divide(sums, counts[:, None], out=centres, where=counts[:, None] > 0)
        bare = cls(centres.astype(np.float32), ())
        distances = bare.distance(directions, members, label[members])
        return cls(bare.centres, tuple(np.sort(distances[label[members] == index]) for index in range(classes)))

    def distance(
        self, directions: Directions, rows: Rows, classes: Int[np.ndarray, " rows"]
    ) -> Float[np.ndarray, " rows"]:
        """Return the distance of each row from the center of its class in `classes`; NaN if either is NaN."""
        distances = np.full(len(rows), np.nan, dtype=np.float32)
        for start in range(0, len(rows), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            distances[part] = np.linalg.norm(directions[rows[part]] - self.centres[classes[part]], axis=1)
        return distances

    def farther_than(self, distance: float | np.floating, index: int) -> float:
        """Return the share of the class's correctly predicted images that are nearer to its center."""
        strays = self.strays[index]
        return float(np.searchsorted(strays, distance) / len(strays)) if len(strays) else float("nan")
