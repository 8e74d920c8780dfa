"""Terminal output: results on stdout, everything else on stderr."""

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
_SECONDS_BETWEEN_LINES = 30.0


def print_json(value: object) -> None:
    """Print a value as JSON on stdout."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_error(line: str) -> None:
    """Print one line on stderr."""
    typer.echo(" ".join(line.split()), err=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table. It fits the terminal; in a file or pipe no cell is wrapped."""
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
    """A progress bar on stderr that counts images, with a second line for the work within one image."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress = progress
        self._task = task
        self._inner: Any = None

    def each(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items and advance by one after each."""
        for item in items:
            yield item
            self._progress.advance(self._task)

    def within(self, done: int, total: int) -> None:
        """Show the progress within the current image."""
        if self._inner is None:
            self._inner = self._progress.add_task("  this image", total=total)
        self._progress.update(self._inner, completed=done, total=total)


@contextmanager
def bar(label: str, total: int) -> Iterator[Bar]:
    """Show a progress bar while the block runs, if stderr is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Bar(progress, progress.add_task(label, total=total))


@contextmanager
def throughput(label: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar with speed and remaining time; the block calls `report(done, total)`.

    If stderr is no terminal, a line is printed every 30 seconds. Work done before the first report is left out of
    the speed.
    """
    console = Console(stderr=True)
    speed = TextColumn("{task.fields[speed]}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), speed, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(label, total=None, speed="")
        start: list[float] = []
        last_line = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal last_line
            now = time.monotonic()
            start[:] = start or [done, now]
            rate = (done - start[0]) / max(now - start[1], 1e-9)
            text = f"{rate:.1f} {unit}/s" if done > start[0] else ""
            progress.update(task, completed=done, total=total, speed=text)
            if not console.is_terminal and now - last_line > _SECONDS_BETWEEN_LINES:
                last_line = now
                print_error(f"{label}: {done:,} of {total:,} {unit}, {text}")

        yield report
