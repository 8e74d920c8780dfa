"""What findings read of a run, and how nothing is written in its columns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.findings.neighbours import Directions, unit

NONE = -1
_AT_ONCE = 8192


@runtime_checkable
class Columns(Protocol):
    """Columns by name, one value per image, and the classes' names."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes in the order of their numbers."""
        ...

    def __len__(self) -> int:
        """How many images the run has."""
        ...

    def column(self, name: str) -> np.ndarray:
        """One column; whole numbers are masked, and other numbers NaN, where the run has nothing."""
        ...


@runtime_checkable
class Run(Columns, Protocol):
    """A run as `camlens.audit.open` gives it: columns, features, maps, images and a place on the disk."""

    @property
    def path(self) -> Path:
        """The run's directory."""
        ...

    @property
    def manifest(self) -> Any:
        """The facts of the run."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of a map in cells."""
        ...

    @property
    def missing(self) -> int:
        """How many planned images have no row yet."""
        ...

    def embeddings(self, rows: Any = None) -> np.ndarray:
        """Features (n, d), NaN for images that failed."""
        ...

    def maps(self, rows: Any = None, which: Any = "predicted") -> np.ndarray:
        """Signed maps (n, h, w), NaN where there is none."""
        ...

    def image(self, row: int) -> np.ndarray:
        """The image (H, W, 3), read again from its source."""
        ...


def whole_numbers(run: Columns, name: str) -> Int[np.ndarray, " n"]:
    """A column of whole numbers, -1 where there is none."""
    values: Any = run.column(name)
    if isinstance(values, np.ma.MaskedArray):
        values = values.filled(NONE)
    whole: Int[np.ndarray, " n"] = np.asarray(values).astype(np.int64)
    return whole


def numbers(run: Columns, name: str) -> Float[np.ndarray, " n"]:
    """A column of numbers as float32, NaN where there is none."""
    return np.asarray(run.column(name), dtype=np.float32)


def directions_of(run: Run, rows: Int[np.ndarray, " rows"] | None = None) -> Directions:
    """The features of the rows (all where None) scaled to length 1, read a part at a time."""
    chosen = np.arange(len(run)) if rows is None else rows
    if not len(chosen):
        return np.zeros((0, 1), np.float32)
    first = unit(run.embeddings(chosen[:1]))
    directions = np.empty((len(chosen), first.shape[1]), np.float32)
    for start in range(0, len(chosen), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        directions[part] = unit(run.embeddings(chosen[part]))
    return directions
