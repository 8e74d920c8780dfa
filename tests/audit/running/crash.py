"""Kill an audit inside its commits and at random moments, and resume it each time: run by test_crash.py.

    python -m tests.audit.running.crash DIRECTORY SEED

Everything is imported once; each attempt is a fork of this process before torch has started any thread.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import camlens.audit
from tests.audit.running.shapes import classifier, folder

torch.set_num_threads(1)

AT_RANDOM = 8


def _is_written(event: str, arguments: tuple[Any, ...]) -> bool:
    """A shard is complete and is opened to be flushed to the disk."""
    reopened = event == "open" and arguments[1] is None  # by os.open: it was written with open
    return reopened and str(arguments[0]).endswith(".unfinished") and ".shard-" in str(arguments[0])


def _is_flushed(event: str, arguments: tuple[Any, ...]) -> bool:
    """A shard is on the disk and is about to be renamed."""
    return event == "os.rename" and str(arguments[1]).endswith(".parquet") and "shard-" in str(arguments[1])


def _is_renamed(event: str, arguments: tuple[Any, ...]) -> bool:
    """A shard has its name and its directory is opened to be flushed."""
    return event == "open" and str(arguments[0]).endswith("shards")


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_torn(path: str) -> None:
    """Truncate the file, as a power failure may, and kill the process."""
    os.truncate(path, os.path.getsize(path) // 2)
    _die()


POINTS: dict[str, Callable[[str, tuple[Any, ...]], bool]] = {
    "written": _is_written,
    "torn": _is_written,
    "flushed": _is_flushed,
    "renamed": _is_renamed,
}


def audit(data: Path, output: Path, report: Callable[[], object]) -> None:
    camlens.audit.run(
        data,
        classifier(),
        output,
        report=False,
        progress=lambda _done, _total: report(),
        shard_size=8,
        batch_size=4,
    )


def die_at(point: str, commits: int) -> None:
    """Kill this process when the commit of its shard number `commits` (from 1) reaches a point."""
    passed = 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal passed
        if event in ("open", "os.rename") and POINTS[point](event, arguments):
            passed += 1
            if passed == commits:
                _die_torn(str(arguments[0])) if point == "torn" else _die()

    sys.addaudithook(watch)


def start(data: Path, output: Path, report: Callable[[], object], prepare: Callable[[], object]) -> int:
    """Fork an audit and return its process."""
    child = os.fork()
    if child:
        return child
    try:
        prepare()
        audit(data, output, report)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  # the child must not return into the parent's code
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_inside(data: Path, output: Path, point: str, commits: int) -> int:
    return ended(start(data, output, lambda: None, lambda: die_at(point, commits)))


def killed_at_random(data: Path, output: Path, steps: int, wait: float) -> int:
    """Kill an audit so many steps and seconds after its start."""
    reader, writer = os.pipe()
    child = start(data, output, lambda: os.write(writer, b"."), lambda: os.close(reader))
    os.close(writer)
    for _ in range(steps):
        if not os.read(reader, 1):
            break
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    return ended(child)


def main(directory: Path, seed: int) -> None:
    draw = random.Random(seed)
    data, output = folder(directory / "shapes", each=120), directory / "killed"
    inside = []
    for point in POINTS:
        for commits in (1, 2, 3):
            before = len(list(output.glob("shards/shard-*.parquet")))
            code = killed_inside(data, output, point, commits)
            shards = len(list(output.glob("shards/shard-*.parquet"))) - before
            unfinished = len(list(output.rglob("*.unfinished")))
            inside.append(
                {"point": point, "commits": commits, "code": code, "shards": shards, "unfinished": unfinished}
            )
    at_random = []
    for _ in range(AT_RANDOM):
        steps = draw.randrange(0, 4)
        at_random.append(killed_at_random(data, output, steps, draw.uniform(0, 0.02 if steps else 0.25)))
    audit(data, output, lambda: None)
    audit(data, directory / "undisturbed", lambda: None)
    sys.stdout.write(json.dumps({"inside": inside, "at_random": at_random}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
