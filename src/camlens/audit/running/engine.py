"""Who works on which shard: an engine schedules shard ids, and knows nothing of models or files."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable


@dataclass(frozen=True)
class Step:
    """Some progress: so many more rows are computed, and maybe a shard is committed."""

    rows: int
    committed: int | None = None


Work = Callable[[Sequence[int]], Iterator[Step]]
"""Computes and commits the shards given, in order, and tells of every step. Shards do not know of each other, and
doing one again replaces it."""


@runtime_checkable
class Engine(Protocol):
    """Hands shards to workers. What it is given to do may be done anywhere, in any order, and more than once."""

    def process(self, shards: Sequence[int], work: Work) -> Iterator[Step]:
        """Have all shards worked on, and pass on the steps as they come."""
        ...


@final
@dataclass(frozen=True)
class LocalEngine:
    """This process works on all shards, one after the other."""

    def process(self, shards: Sequence[int], work: Work) -> Iterator[Step]:
        """The steps of the only worker."""
        yield from work(shards)
