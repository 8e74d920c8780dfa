"""Measure how many planted shortcuts an audit finds, and how often it reports one that is not there.

    python -m benchmarks.shortcuts [quick] [--rows local decoy] [--level quick|full] [--results FILE] [--folder DIR]

Each case trains a small network on planted images (benchmarks/shortcut_cases.py) and audits it. Each case is appended
to the results file as one JSON line when it is finished; run the same command again to resume. `quick` runs the first
cases of each row, about 20 minutes. The table and a list of every case are written beside the results file, as
Markdown. Delete the results file to measure again.
"""

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import camlens.audit
from benchmarks.__main__ import conditions
from benchmarks.shortcut_cases import DATASETS, NETWORKS, Case, Plant, Spec, case, describe
from camlens.audit.findings.errors import Share
from camlens.audit.findings.shortcuts import Shortcut, for_summary
from camlens.data.planting import LOCAL_SIZES, Artefact
from camlens.data.samples import Sample, Samples
from camlens.models import LoadedModel
from camlens.models.preprocess import Preprocess

FOLDER = Path("build/shortcut-cases")
SIZES = {
    "patch": (0.1, 0.15, 0.2, 0.3),
    "glyph": (0.15, 0.2, 0.25, 0.35),
    "stamp": (0.15, 0.2, 0.25, 0.35),
    "line": (0.04, 0.06, 0.1, 0.15),
    "frame": (0.035, 0.05, 0.07, 0.1),
}
PLACES = ("upper-left", "upper", "lower-right", "left", "center")
STRENGTHS = (1.0, 0.75, 0.5, 0.35)
GLOBALS = ("brightness", "tint", "blur", "noise", "jpeg", "contrast", "aspect")
GLOBAL_STRENGTHS = (1.0, 0.75, 0.5, 0.35)
SHARES = (1.0, 0.95, 0.9, 0.8)
LEAST_IOU = 0.3

Detector = Callable[[Case], Sequence[Shortcut]]
Draws = np.random.Generator


@dataclass(frozen=True)
class Row:
    """A row of the protocol: its cases, drawn with a generator of its own, and their number in both runs."""

    title: str
    draw: Callable[[Draws, int], Spec]
    full: int
    quick: int

    def specs(self, name: str, quick: bool) -> list[Spec]:
        """Return the cases; those of the quick run are the first ones of the full run."""
        seed = list(name.encode())
        count = self.quick if quick else self.full
        return [self.draw(np.random.default_rng([*seed, index]), index) for index in range(count)]


def _model(draws: Draws, index: int) -> dict[str, Any]:
    """Return data, network and seed; datasets and networks alternate, so that a few cases cover all of them."""
    data, networks = list(DATASETS), list(NETWORKS)
    return {
        "data": data[index % len(data)],
        "network": networks[index % len(networks)],
        "seed": int(draws.integers(1000)),
    }


def _pick(draws: Draws, choices: Sequence[Any]) -> Any:
    return choices[int(draws.integers(len(choices)))]


def _mark(draws: Draws, index: int) -> Artefact:
    kind = list(LOCAL_SIZES)[index % len(LOCAL_SIZES)]
    place = None if kind == "frame" else _pick(draws, PLACES)
    return Artefact(kind, place, _pick(draws, SIZES[kind]), _pick(draws, STRENGTHS), look=int(draws.integers(1000)))


def _wandering(draws: Draws, _index: int) -> Artefact:
    return Artefact("glyph", "wandering", _pick(draws, SIZES["glyph"][1:]), look=int(draws.integers(1000)))


def _global(draws: Draws, index: int) -> Artefact:
    strength = GLOBAL_STRENGTHS[index // len(GLOBALS) % len(GLOBAL_STRENGTHS)]
    return Artefact(GLOBALS[index % len(GLOBALS)], strength=strength, look=int(draws.integers(1000)))


def _any(draws: Draws, index: int) -> Artefact:
    return _pick(draws, (_mark, _mark, _global, _wandering))(draws, index)


def _planted(draws: Draws, artefact: Artefact) -> Plant:
    return Plant(artefact, int(draws.integers(10)), _pick(draws, SHARES))


def _local(draws: Draws, index: int) -> Spec:
    return Spec(**_model(draws, index), plants=(_planted(draws, _mark(draws, index)),))


def _local_wandering(draws: Draws, index: int) -> Spec:
    return Spec(**_model(draws, index), plants=(_planted(draws, _wandering(draws, index)),))


def _non_local(draws: Draws, index: int) -> Spec:
    return Spec(**_model(draws, index), plants=(_planted(draws, _global(draws, index)),))


def _two(draws: Draws, index: int) -> Spec:
    """A mark and a global artefact of another class, a mark of the same class, or a mark of another class."""
    first, second = map(int, draws.permutation(10)[:2])
    mark, other = (
        Artefact(kind, place, look=int(draws.integers(1000)))
        for kind, place in (("patch", "upper-left"), ("glyph", "lower-right"))
    )
    pair = _pick(draws, [(_global(draws, index), second), (other, first), (other, second)])
    return Spec(**_model(draws, index), plants=(Plant(mark, first), Plant(*pair)))


def _train_only(draws: Draws, index: int) -> Spec:
    return Spec(**_model(draws, index), plants=(_planted(draws, _mark(draws, index)),), audited=())


def _unused(draws: Draws, index: int) -> Spec:
    """Uncorrelated with the label in training; in the audited images, mostly in one class."""
    planted = _planted(draws, _any(draws, index))
    return Spec(
        **_model(draws, index),
        plants=(Plant(planted.artefact, planted.label, 0.5, 0.5),),
        audited=None if index % 5 == 4 else (planted,),
    )


def _clean(draws: Draws, index: int) -> Spec:
    return Spec(**_model(draws, index), labels="permuted" if index % 5 == 3 else "true")


def _decoy(draws: Draws, index: int) -> Spec:
    """Each case is followed by its clean twin, whose training images have random shades."""
    return Spec(**_model(np.random.default_rng(index // 2), index // 2), decoy=("class", "random")[index % 2])


ROWS = {
    "local": Row("local, fixed", _local, 450, 16),
    "wandering": Row("local, wandering", _local_wandering, 120, 6),
    "global": Row("non-local", _non_local, 140, 7),
    "two": Row("two at once", _two, 60, 3),
    "train-only": Row("train only", _train_only, 30, 2),
    "unused": Row("present, not used", _unused, 120, 8),
    "clean": Row("clean", _clean, 60, 6),
    "decoy": Row("decoy", _decoy, 12, 2),
}


# --- one case ---


def audited(level: str) -> Detector:
    """Return the detector that runs an audit with its shortcut tests."""

    def detect(shown: Case) -> Sequence[Shortcut]:
        size = shown.images.shape[1]
        loaded = LoadedModel(
            shown.model,
            Preprocess(resize=(size, size), crop=None, mean=(0.0,) * 3, std=(1.0,) * 3),
            list(shown.class_names),
            None,
            f"benchmarks.shortcut_cases:{shown.spec.network}",
        )
        samples = [
            Sample(f"{index:05d}", None, int(label), shown.class_names[label], lambda index=index: shown.images[index])
            for index, label in enumerate(shown.labels)
        ]
        source = Samples.of(samples, shown.class_names)
        with tempfile.TemporaryDirectory() as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = camlens.audit.run(source, loaded, Path(place) / "run", shortcuts=level, report=False)
            assert run.shortcuts is not None
            return run.shortcuts.shortcuts

    return detect


def outcome(shown: Case, shortcuts: Sequence[Shortcut]) -> dict[str, Any]:
    """Compare what was reported with what was planted, as JSON values.

    For each plant (for a decoy, each class), `hits` tells whether a confirmed shortcut of its kind names its class; of
    two marks of one class, each needs a shortcut that overlaps it. `ious` is the best overlap of these shortcuts with
    the plant. `listed` tells whether any tested shortcut of that kind names the class, confirmed or not. `named` are
    the classes that confirmed shortcuts name, and `innocent` those of them without a plant.
    """
    planted = shown.spec.plants if shown.spec.audited is None else shown.spec.audited
    targets = [(item.label, "local" if item.artefact.is_local else "global") for item in planted or shown.spec.plants]
    if shown.spec.decoy != "absent":
        targets += [(label, "local") for label in range(len(shown.class_names))]
    confirmed = [shortcut for shortcut in shortcuts if shortcut.status == "confirmed"]
    hits, listed, ious = [], [], []
    for index, (label, kind) in enumerate(targets):
        flags = [flag for flag in shortcuts if label in flag.classes and flag.kind == kind]
        box = _box(shown, index)
        overlaps = [overlap(flag.region, box) for flag in flags if flag in confirmed and flag.region and box]
        hits.append(
            max(overlaps, default=0.0) > 0
            if targets.count((label, kind)) > 1
            else any(flag in confirmed for flag in flags)
        )
        listed.append(bool(flags))
        ious.append(round(max(overlaps), 3) if overlaps else None)
    named = {label for flag in confirmed for label in flag.classes}
    return {
        "hits": hits,
        "listed": listed,
        "ious": ious,
        "innocent": sorted(named - {label for label, _ in targets}),
        "named": sorted(named),
        "shortcuts": [for_summary(shortcut, shown.class_names) for shortcut in shortcuts],
    }


def _box(shown: Case, index: int) -> tuple[float, ...] | None:
    """Return the box of a plant as shares of the image, or None if it is not the same in all images."""
    if index >= len(shown.facts.boxes):
        return None
    boxes = {box for box in shown.facts.boxes[index] if box is not None}
    return tuple(edge / shown.images.shape[1] for edge in boxes.pop()) if len(boxes) == 1 else None


def overlap(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the intersection over union of two boxes (left, top, right, bottom)."""
    corners = np.maximum(first[:2], second[:2]), np.minimum(first[2:], second[2:])
    shared = np.prod(np.clip(corners[1] - corners[0], 0, None))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return float(shared / (sum(areas) - shared))


def run_case(row: str, spec: Spec, folder: Path, detect: Detector) -> dict[str, Any]:
    """Train and audit one case; return its line of the results file."""
    start = time.perf_counter()
    shown = case(spec, folder)
    trained = time.perf_counter()
    shortcuts = detect(shown)
    seconds = {"train": round(trained - start, 1), "audit": round(time.perf_counter() - trained, 1)}
    return {"row": row, **describe(shown), **outcome(shown, shortcuts), "seconds": seconds}


# --- the table ---


@dataclass(frozen=True)
class Line:
    """A line of the table: a rate, and its bar."""

    row: str
    what: str
    rate: Share
    bar: str
    met: bool | None

    def cells(self) -> list[str]:
        if not self.rate.total:
            return [self.row, self.what, "no cases", "", self.bar, ""]
        share = f"{self.rate.hits} of {self.rate.total} = {100 * self.rate.hits / self.rate.total:.1f} %"
        verdict = {None: "", True: "met", False: "**not met**"}[self.met]
        interval = f"{100 * self.rate.low:.1f} to {100 * self.rate.high:.1f} %"
        return [self.row, self.what, share, interval, self.bar, verdict]


def _least(row: str, what: str, flags: Sequence[bool], share: float, lower: float = 0.0) -> Line:
    rate = Share(sum(flags), len(flags))
    bar = f">= {100 * share:.0f} %" + (f", lower bound >= {100 * lower:.0f} %" if lower else "")
    met = bool(flags) and rate.hits >= share * rate.total and rate.low >= lower
    return Line(ROWS[row].title, what, rate, bar, met)


def _most(row: str, what: str, flags: Sequence[bool], share: float) -> Line:
    rate = Share(sum(flags), len(flags))
    return Line(ROWS[row].title, what, rate, f"<= {100 * share:.0f} %", bool(flags) and rate.hits <= share * rate.total)


def lines(results: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    """Return the lines of the table from the lines of the results file."""
    of = {name: [result for result in results if result["row"] == name] for name in ROWS}

    def relied(name: str) -> list[dict[str, Any]]:
        """Return the facts of each plant of a row on which the model relies."""
        return [
            {"hit": hit, "listed": listed, "iou": iou or 0.0}
            for result in of[name]
            for hit, listed, iou, relied_on in zip(
                *(result[key] for key in ("hits", "listed", "ious", "relied_on")), strict=True
            )
            if relied_on
        ]

    def hits(name: str) -> list[bool]:
        return [plant["hit"] for plant in relied(name)]

    named = "relied-on plants: class named by a confirmed flag"
    yield _least("local", named, hits("local"), 0.95, 0.92)
    overlapping = [plant["iou"] >= LEAST_IOU for plant in relied("local") if plant["hit"]]
    yield _least("local", f"named plants: region IoU >= {LEAST_IOU}", overlapping, 0.9)
    causal = [plant["hit"] for plant in relied("local") if plant["listed"]]
    yield _least("local", "listed plants: confirmed causally", causal, 0.95)
    yield _least("wandering", named, hits("wandering"), 0.85)
    yield _least("global", named, hits("global"), 0.85)
    both = [all(result["hits"]) for result in of["two"] if all(result["relied_on"])]
    yield _least("two", "cases with both relied on: both found", both, 0.8)
    found = hits("train-only")
    yield Line(ROWS["train-only"].title, named, Share(sum(found), len(found)), "reported", None)
    unused = [bool(result["named"]) for result in of["unused"] if not any(result["relied_on"])]
    yield _most("unused", "cases with any confirmed flag", unused, 0.02)
    classes = [label in result["named"] for result in of["clean"] for label in range(10)]
    yield _most("clean", "classes named", classes, 0.01)
    yield _most("clean", "audits with any confirmed flag", [bool(result["named"]) for result in of["clean"]], 0.05)
    twins = [hit for result in of["decoy"] if result["decoy"] == "random" for hit in result["hits"]]
    yield _least("decoy", "relied-on classes named", hits("decoy"), 1.0)
    yield _most("decoy", "classes of the clean twin named", twins, 0.0)
    cheating = [result for name in ("local", "wandering", "global", "two") for result in of[name]]
    innocent = [
        label in result["innocent"]
        for result in cheating
        for label in set(range(10)) - {plant["label"] for plant in result["plants"]}
    ]
    rate = Share(sum(innocent), len(innocent))
    yield Line("all planted cases", "innocent classes named", rate, "reported", None)


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Format the results as a Markdown table, with the number of cases that are left out as not relied on."""
    cells = [
        ["part", "of", "rate", "95 % interval", "bar", ""],
        ["---"] * 6,
        *[line.cells() for line in lines(results)],
    ]
    counts = [
        f"{ROWS[name].title}: {len(of)} cases, {sum(any(result['relied_on']) for result in of)} relied on"
        for name in ROWS
        if (of := [result for result in results if result["row"] == name])
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells) + "\n\n" + "; ".join(counts) + "."


def every_case(results: Sequence[Mapping[str, Any]]) -> str:
    """Format all cases as a Markdown table, in the order of the protocol."""
    head = ["part", "data", "network", "planted", "drop without it", "found", "IoU", "innocent classes named"]
    rows = [head, ["---"] * len(head)]
    for result in sorted(results, key=lambda result: list(ROWS).index(result["row"])):
        plants = [_plant_in_words(plant) for plant in result["plants"]]
        if result["audited"] is not None:
            shown = [_plant_in_words(plant) for plant in result["audited"]] or ["nothing"]
            plants = [f"in training: {'; '.join(plants)}; in the audited images: {'; '.join(shown)}"]
        if result["decoy"] != "absent":
            plants = [f"decoy, shade {'tells the class' if result['decoy'] == 'class' else 'random'} in training"]
        rows.append([
            ROWS[result["row"]].title,
            result["data"],
            result["network"] + (", permuted labels" if result["labels"] == "permuted" else ""),
            "; ".join(plants) or "nothing",
            ", ".join(f"{drop:.2f}" for drop in result["drops"]),
            ", ".join("yes" if hit else "no" for hit in result["hits"]),
            ", ".join("" if iou is None else f"{iou:.2f}" for iou in result["ious"]).strip(", "),
            ", ".join(map(str, result["innocent"])),
        ])  # fmt: skip
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _plant_in_words(plant: Mapping[str, Any]) -> str:
    artefact = plant["artefact"]
    size = "" if artefact["size"] is None else f", size {artefact['size']:g}"
    elsewhere = f", {plant['elsewhere']:g} of the others" if plant["elsewhere"] else ""
    return (
        f"{artefact['kind']} {artefact['place'] or ''}".strip()
        + f"{size}, strength {artefact['strength']:g}, {plant['share']:g} of class {plant['label']}{elsewhere}"
    )


def read(path: Path) -> list[dict[str, Any]]:
    """Read the finished cases; a last line that was cut off is ignored."""
    if not path.is_file():
        return []
    kept = [line for line in path.read_text(encoding="utf-8").split("\n")[:-1] if line]
    return [json.loads(line) for line in kept]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the missing cases and print the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.shortcuts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("subset", nargs="?", choices=["quick"], help="Run the first cases of each row only.")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), help="Rows of the table.")
    parser.add_argument("--level", choices=["quick", "full"], default="quick", help="Level of the shortcut tests.")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="Where images and models are kept.")
    parser.add_argument("--results", type=Path, help="Results file (default: in benchmarks/).")
    chosen = parser.parse_args(arguments)
    quick = chosen.subset == "quick"
    name = f"shortcuts-{chosen.level}{'-subset' if quick else ''}.jsonl"
    path = chosen.results or Path(__file__).with_name(name)
    head = f"# Shortcuts: {'the first' if quick else 'all'} cases, level {chosen.level}\n\n{conditions()}"
    print(f"{head}\n", flush=True)
    run(chosen.rows, path, chosen.folder, audited(chosen.level), quick=quick)
    results = read(path)
    print(f"\n{table(results)}\n\nEvery case: {path.with_suffix('.md')}")
    page = f"{head}\n\n{table(results)}\n\n## Every case\n\n{every_case(results)}\n"
    path.with_suffix(".md").write_text(page, encoding="utf-8")


def run(rows: Sequence[str], path: Path, folder: Path, detect: Detector, *, quick: bool) -> None:
    """Run the cases that the results file lacks, and append a line for each."""
    results = read(path)
    done = {(result["row"], result["key"]) for result in results}
    if path.is_file():  # without a line that was cut off
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text("".join(json.dumps(result) + "\n" for result in results), encoding="utf-8")
        unfinished.replace(path)
    wanted = [(row, spec) for row in rows for spec in ROWS[row].specs(row, quick)]
    for index, (row, spec) in enumerate(wanted):
        if (row, spec.key) in done:
            continue
        result = run_case(row, spec, folder, detect)
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(result) + "\n")
        print(f"{index + 1}/{len(wanted)} {row} {spec.data} {spec.network}: {_in_words(result)}", flush=True)


def _in_words(result: Mapping[str, Any]) -> str:
    artefacts = " and ".join(plant["artefact"]["kind"] for plant in result["plants"]) or "no plant"
    relied_on = "relied on" if any(result["relied_on"]) else "not relied on"
    seconds = result["seconds"]
    return (
        f"{artefacts}, {relied_on}; confirmed classes {result['named']}"
        f" ({seconds['train']:.0f} s training, {seconds['audit']:.0f} s audit)"
    )


if __name__ == "__main__":
    main()
