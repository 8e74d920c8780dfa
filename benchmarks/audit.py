"""Time audits.

    python -m benchmarks.audit [throughput demo reading] [--quick] [--images 192] [--rounds 5] [--workers 0]

throughput: images per second of a run (decoding, preprocessing, forward pass, maps, embedding, measures, commit)
relative to a DataLoader with a forward pass under inference mode, on the same files in the same batches. The
constant second or two of planning is not included.
demo: the whole command on the demo photographs.
reading: opening, summing up and reporting 100,000 synthetic rows in a new process.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import camlens.audit
from benchmarks.__main__ import busy, conditions
from benchmarks.harness import Plan, Row, race, table
from benchmarks.networks import network
from camlens.data.decode import decode_image
from camlens.models import LoadedModel
from camlens.models.preprocess import Preprocess

LEAST_OF_BARE = 0.9
ROWS = 100_000
BATCH = 32


class Files(Dataset[Tensor]):
    """Images decoded and preprocessed as an audit does."""

    def __init__(self, paths: Sequence[Path], preprocess: Preprocess) -> None:
        self.paths = paths
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return self.preprocess(decode_image(self.paths[index]))


def photographs(folder: Path, count: int) -> Path:
    """Write `count` JPEG files of 500 x 375, crops of real photographs, in two classes."""
    from PIL import Image

    from camlens.data.photographs import BACKGROUNDS, open_photograph

    for number in range(count):
        draw = np.random.default_rng(number)
        region = BACKGROUNDS[number % len(BACKGROUNDS)]
        left, top, right, bottom = region.box
        width = float(draw.uniform(0.5, 1)) * min(right - left, (bottom - top) * 4 / 3)
        x, y = draw.uniform(left, right - width), draw.uniform(top, bottom - width * 3 / 4)
        box = (x, y, x + width, y + width * 3 / 4)
        piece = open_photograph(region.photograph).resize((500, 375), Image.Resampling.BICUBIC, box=box)
        place = folder / f"class {number % 2}"
        place.mkdir(parents=True, exist_ok=True)
        piece.save(place / f"{number:05d}.jpg", quality=90)
    return folder


def throughput(plan: Plan, images: int, rounds: int, workers: int) -> Iterator[Row]:
    """Compare the images per second of a run with those of the bare loop, for two networks."""
    with tempfile.TemporaryDirectory() as place:
        data = photographs(Path(place) / "images", images)
        for name in ("resnet18",) if plan.quick else ("resnet18", "resnet50"):
            yield from _compared(name, data, Path(place) / "run", plan, rounds, workers)


def _compared(name: str, data: Path, output: Path, plan: Plan, rounds: int, workers: int) -> Iterator[Row]:
    preprocess = Preprocess(resize=plan.size + plan.size // 7, crop=(plan.size, plan.size))
    loaded = LoadedModel(network(name), preprocess, [f"class {index}" for index in range(1000)], None, name)
    files = Files(sorted(data.rglob("*.jpg")), preprocess)
    spent: dict[str, list[float]] = {"set up": [], "run": []}

    def bare() -> None:
        loader = DataLoader(files, batch_size=BATCH, num_workers=workers)
        with torch.inference_mode():
            for batch in loader:
                loaded.model(batch).argmax(dim=1)

    def audit() -> None:
        marks = [time.perf_counter()]
        camlens.audit.run(
            data,
            loaded,
            output,
            force=True,
            report=False,
            progress=lambda done, _total: marks.append(time.perf_counter()) if done == 0 else None,
            batch_size=BATCH,
            workers=workers,
        )
        spent["set up"].append(marks[1] - marks[0])
        spent["run"].append(time.perf_counter() - marks[1])

    timings = race({"bare": bare, "audit": audit}, rounds)
    ours, theirs = spent["run"][1:], timings["bare"]  # the first was the warm-up
    note = f"{len(files) / float(np.median(ours)):.1f} and {len(files) / theirs.median:.1f} images/s"
    value, best = theirs.median / float(np.median(ours)), theirs.minimum / min(ours)
    yield Row(f"{name}, {plan.size} x {plan.size}", "of bare loop", value, best, LEAST_OF_BARE, "least", note)
    yield Row(f"{name}: setting up", "seconds", float(np.median(spent["set up"][1:])))


def reading(plan: Plan) -> Iterator[Row]:
    """A large run is opened, summed up and reported, each in a process that does nothing else."""
    from tests.audit.synthetic import synthetic_run

    rows = 2000 if plan.quick else ROWS
    with tempfile.TemporaryDirectory() as place:
        pictures = photographs(Path(place) / "images", 4)
        synthetic_run(Path(place) / "run", rows, width=64 if plan.quick else 512, classes=100, shard_size=512)
        for name, limit in {"open": 2.0, "summary and report": 60.0}.items():
            found = _measured(name, Path(place) / "run", next(pictures.rglob("*.jpg")))
            yield Row(f"{rows:,} rows: {name}", "seconds", found["seconds"], target=limit, note="one process, cold")
            yield Row(f"{rows:,} rows: {name}", "GB held at most", found["gigabytes"], target=2.0)


def demo(plan: Plan) -> Iterator[Row]:
    """Time the whole command, including the start of Python, the summary and the report."""
    images = 20 if plan.quick else 1000
    with tempfile.TemporaryDirectory() as place:
        words = ["audit", "demo:photos", "--model", "demo:photos", "--limit", str(images), "--output", f"{place}/run"]
        code = "from camlens.cli.main import run; run()"
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code, *words], check=True, capture_output=True)
        yield Row(f"demo:photos, {images:,} images", "seconds", time.perf_counter() - start, target=60.0)


def _measured(name: str, run: Path, picture: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.audit", "--measure", name, str(run), str(picture)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(answer.stdout.splitlines()[-1])
    return found


def measure(name: str, run: Path, picture: Path) -> dict[str, float]:
    """Return seconds and peak memory of reading a run in which every image is `picture`."""
    start = time.perf_counter()
    audit = camlens.audit.open(run)
    if name == "open":
        assert len(audit.column("predicted")) == len(audit)
        assert audit.complete
    else:
        from camlens.audit.report.page import write_report

        object.__setattr__(audit, "image", lambda _row: decode_image(picture))
        write_report(audit)
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table for each group."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.audit", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="throughput, demo or reading (default: all)")
    parser.add_argument("--quick", action="store_true", help="Use few and small images, to check that everything runs.")
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "RUN", "PICTURE"), help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.measure:
        name, run, picture = chosen.measure
        print(json.dumps(measure(name, Path(run), Path(picture))))
        return
    plan = Plan(quick=chosen.quick)
    images, rounds = (8, 1) if plan.quick else (chosen.images, chosen.rounds)
    groups: dict[str, Callable[[], Iterator[Row]]] = {
        "throughput": lambda: throughput(plan, images, rounds, chosen.workers),
        "demo": lambda: demo(plan),
        "reading": lambda: reading(plan),
    }
    unknown = set(chosen.groups) - set(groups)
    if unknown:
        parser.error(f"unknown group {', '.join(sorted(unknown))}; groups are {', '.join(groups)}")
    print("\n".join(filter(None, [conditions(), busy()])), flush=True)
    for name in chosen.groups or groups:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            print(f"\n## {name}\n\n{table([])}", flush=True)
            for row in groups[name]():  # one line at a time, because the larger network takes minutes
                print(table([row]).splitlines()[-1], flush=True)


if __name__ == "__main__":
    main()
