"""Timing of candidates in random order, in one process, with median and minimum."""

import gc
import math
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

Candidate = Callable[[], object]


@dataclass(frozen=True)
class Plan:
    """Sizes and repetitions. `quick` only checks that everything runs; its figures mean nothing."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        return 2 if self.quick else 10

    @property
    def single_rounds(self) -> int:
        """Rounds for single images, which are so short that a median of ten is unstable."""
        return self.rounds if self.quick else 30

    @property
    def size(self) -> int:
        return 32 if self.quick else 224

    @property
    def batches(self) -> tuple[int, ...]:
        return (1,) if self.quick else (1, 16)


@dataclass(frozen=True)
class Timing:
    """Seconds per round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def minimum(self) -> float:
        return min(self.seconds)


@dataclass(frozen=True)
class Row:
    """A row of the table: `value` from medians, compared with `target`, and `best` from minima.

    `bound` tells whether the target is the largest or the smallest allowed value. Rows without a target are for
    comparison.
    """

    case: str
    unit: str
    value: float
    best: float | None = None
    target: float | None = None
    bound: str = "most"
    note: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        if math.isnan(self.value):
            return False
        return self.value <= self.target if self.bound == "most" else self.value >= self.target

    def cells(self) -> list[str]:
        target = "" if self.target is None else f"{'<=' if self.bound == 'most' else '>='} {_number(self.target)}"
        verdict = {None: "", True: "met", False: "**not met**"}[self.met]
        best = "" if self.best is None else _number(self.best)
        return [self.case, self.unit, _number(self.value), best, target, verdict, self.note]


def _number(value: float) -> str:
    if math.isnan(value):
        return "failed"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def table(rows: Sequence[Row]) -> str:
    """Format the rows as a Markdown table."""
    head = ["case", "unit", "median", "from minima", "target", "", "note"]
    lines = [head, ["---"] * len(head), *[row.cells() for row in rows]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


@contextmanager
def uncollected() -> Iterator[None]:
    """Disable garbage collection while the block runs."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def race(candidates: Mapping[str, Candidate], rounds: int, *, seed: int = 0, warmups: int = 1) -> dict[str, Timing]:
    """Time all candidates once per round, in a new random order each round."""
    order, draws = list(candidates), random.Random(seed)
    for _ in range(warmups):
        for name in order:
            candidates[name]()
    seconds: dict[str, list[float]] = {name: [] for name in order}
    for _ in range(rounds):
        draws.shuffle(order)
        gc.collect()  # not before each candidate, which would clear warm caches
        for name in order:
            with uncollected():
                start = time.perf_counter()
                candidates[name]()
                seconds[name].append(time.perf_counter() - start)
    return {name: Timing(tuple(times)) for name, times in seconds.items()}


def ratios(
    timings: Mapping[str, Timing],
    base: str,
    targets: Mapping[str, float],
    case: str,
    notes: Mapping[str, str] | None = None,
) -> list[Row]:
    """Return a row for each candidate except `base`, with its time relative to `base`."""
    rows = []
    for name, timing in timings.items():
        if name != base:
            value = timing.median / timings[base].median
            best = timing.minimum / timings[base].minimum
            unit, note = f"x {base}", (notes or {}).get(name, "")
            rows.append(Row(f"{case}: {name}", unit, value, best, targets.get(name), note=note))
    return rows
