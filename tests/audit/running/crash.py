"""Kill an audit at random moments, resume it each time, and say what became of it: run by test_crash.py.

    python -m tests.audit.running.crash DIRECTORY KILLS SEED

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

import torch

import camlens.audit
from tests.audit.running.shapes import classifier, folder

torch.set_num_threads(1)


def audit(data: Path, output: Path, tell: Callable[[], object]) -> None:
    settings = {"shard_size": 8, "batch_size": 4}
    camlens.audit.run(data, classifier(), output, progress=lambda _done, _total: tell(), **settings)


def attempt(data: Path, output: Path, steps: int, wait: float) -> int:
    """Fork an audit, kill it so many steps and seconds after its start, and return how it ended."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        try:
            audit(data, output, lambda: os.write(writer, b"."))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001  # a child must not come back into its parent's code
            sys.stderr.write(f"{type(error).__name__}: {error}\n")
            os._exit(1)
    os.close(writer)
    for _ in range(steps):
        if not os.read(reader, 1):
            break
    time.sleep(wait)
    os.kill(child, signal.SIGKILL)
    os.close(reader)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def main(directory: Path, kills: int, seed: int) -> None:
    draw = random.Random(seed)
    data = folder(directory / "shapes", each=120)
    codes, left = [], 0
    for _ in range(kills):
        steps = draw.randrange(0, 7)
        wait = draw.uniform(0, 0.25) if steps == 0 else draw.uniform(0, 0.02)
        codes.append(attempt(data, directory / "killed", steps, wait))
        left += len(list((directory / "killed").rglob("*.unfinished")))
    audit(data, directory / "killed", lambda: None)
    audit(data, directory / "undisturbed", lambda: None)
    sys.stdout.write(json.dumps({"codes": codes, "unfinished": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
