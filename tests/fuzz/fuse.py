"""Exceptions at a chosen point: where code of the user's runs, or at a line of camlens."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import camlens

_PACKAGE = str(Path(camlens.__file__).parent)


class Fuse:
    """Counts how often code of the user's is entered, and acts at the chosen count.

    Random models, hooks, targets, selectors, methods and progress callbacks call `tick`; so do backward passes.
    """

    def __init__(self) -> None:
        self.count = 0
        self.at = -1
        self.act: Callable[[], None] = lambda: None

    def tick(self, *_: object) -> None:
        self.count += 1
        if self.count == self.at:
            self.act()

    def reset(self, at: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self.count, self.at, self.act = 0, at, act


FUSE = Fuse()


def raises(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def interrupts() -> None:
    """Press Ctrl-C."""
    signal.raise_signal(signal.SIGINT)


@contextmanager
def ticking_lines() -> Iterator[None]:
    """Tick at every line of camlens that runs in the block, instead of in code of the user's."""

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return None
        if event == "line":
            LINES.tick()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


LINES = Fuse()
