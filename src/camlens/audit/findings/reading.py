"""What findings read from a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from camlens.audit.findings.neighbours import Directions, unit

NONE = -1
_AT_ONCE = 8192


@runtime_checkable
class Run(Protocol):
    """The part of `camlens.audit.Audit` that findings and reports use."""

    def __len__(self) -> int:
        """The number of images."""
        ...

    @property
    def class_names(self) -> Sequence[str]:
        """The names of the classes."""
        ...

    @property
    def path(self) -> Path:
        """The run's directory."""
        ...

    @property
    def manifest(self) -> Any:
        """The manifest of the run."""
        ...

    @property
    def grid(self) -> tuple[int, int]:
        """The (height, width) of a map in cells."""
        ...

    @property
    def missing(self) -> int:
        """The number of planned images without a row."""
        ...

    def column(self, name: str) -> np.ndarray:
        """Return a column; null is masked in integers and NaN in floats."""
        ...

    def embeddings(self, rows: Any = None) -> np.ndarray:
        """Return embeddings (n, d); NaN for images without a prediction."""
        ...

    def maps(self, rows: Any = None, which: Any = "predicted") -> np.ndarray:
        """Return signed maps (n, h, w); NaN if there is no map."""
        ...

    def image(self, row: int) -> np.ndarray:
        """Read the image (H, W, 3) of a row."""
        ...


def whole_numbers(run: Run, name: str) -> Int[np.ndarray, " n"]:
    """Return a column of integers, with -1 for null."""
    values: Int[np.ndarray, " n"] = np.ma.filled(run.column(name), NONE).astype(np.int64)
    return values


def numbers(run: Run, name: str) -> Float[np.ndarray, " n"]:
    """Return a column of floats as float32, with NaN for null."""
    return np.asarray(run.column(name), dtype=np.float32)


def directions_of(run: Run, rows: Int[np.ndarray, " rows"] | None = None) -> Directions:
    """Return the embeddings of some or all rows at unit length, read a part at a time."""
    chosen = np.arange(len(run)) if rows is None else rows
    if not len(chosen):
        return np.zeros((0, 1), np.float32)
    first = unit(run.embeddings(chosen[:1]))
    directions = np.empty((len(chosen), first.shape[1]), np.float32)
    for start in range(0, len(chosen), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        directions[part] = unit(run.embeddings(chosen[part]))
    return directions
