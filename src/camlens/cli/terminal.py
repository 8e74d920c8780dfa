"""What commands say: results on stdout, everything else on stderr."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Item = TypeVar("Item")
_LINE_EVERY = 30.0


def say_json(value: object) -> None:
    """Print plain values as JSON."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def complain(line: str) -> None:
    """Print one line on stderr."""
    typer.echo(" ".join(line.split()), err=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table, as wide as the terminal; into a file or pipe no cell is cut."""
    grid = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*row)
    console = Console(file=sys.stdout, highlight=False, markup=False)
    if not console.is_terminal:
        console.width = max(console.width, 220)
    console.print(grid)


class Bar:
    """A progress bar on stderr: one step for each image, and a second line for long work inside an image."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress = progress
        self._task = task
        self._inner: Any = None

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """The items, with one step after each."""
        for item in items:
            yield item
            self._progress.advance(self._task)

    def within(self, done: int, total: int) -> None:
        """Steps of the work inside one image."""
        if self._inner is None:
            self._inner = self._progress.add_task("  this image", total=total)
        self._progress.update(self._inner, completed=done, total=total)


@contextmanager
def bar(label: str, total: int) -> Iterator[Bar]:
    """A progress bar while the block runs, where somebody watches a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(label, total=total))


@contextmanager
def throughput(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with speed and time left while the block runs, told by `report(done, total)`.

    Where nobody watches a terminal, a line on stderr every half minute. What was done before the first report
    does not count as speed.
    """
    console = Console(stderr=True)
    speed = TextColumn("{task.fields[speed]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None, speed="")
        begun: list[float] = []
        said = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal said
            now = time.monotonic()
            begun[:] = begun or [done, now]
            rate = (done - begun[0]) / max(now - begun[1], 1e-9)
            text = f"{rate:.1f} {unit}/s" if done > begun[0] else ""
            progress.update(task, completed=done, total=total, speed=text)
            if not console.is_terminal and now - said > _LINE_EVERY:
                said = now
                complain(f"{label}: {done:,} of {total:,} {unit}, {text}")

        yield report
