"""Engines, which schedule the shards of a run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True)
class Step:
    """Progress: the number of rows just computed, and the shard that was committed, if any."""

    rows: int
    committed: int | None = None


Work = Callable[[Sequence[int]], Iterator[Step]]
"""Computes and commits shards in the order given, and yields each step. Shards are independent of each other, and
computing one again replaces it."""


@runtime_checkable
class Engine(Protocol):
    """Schedules shards. They can be computed in any process, in any order, and more than once."""

    def process(self, shards: Sequence[int], work: Work) -> Iterator[Step]:
        """Call `work` for all shards, and yield its steps."""
        ...
