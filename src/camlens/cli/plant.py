"""`camlens plant`: copy a dataset and plant an artefact in a class, to test an auditor."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from camlens.cli import options
from camlens.cli.naming import class_index, free_stem
from camlens.cli.terminal import bar, print_error, print_json
from camlens.core.errors import DataError, StoreError, invalid_argument
from camlens.core.store import result_directory

if TYPE_CHECKING:
    from camlens.data.planting import Artefact
    from camlens.data.samples import Box, Source

PLANTED = "planted.csv"

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        show_default=False,
        help="A folder per class, a manifest, a saved dataset, a URL, or demo:photos.",
    ),
]
Class = Annotated[
    str, typer.Option("--class", "-c", metavar="CLASS", show_default=False, help="Name or index of the class.")
]
ArtefactKind = Annotated[
    str,
    typer.Option(
        "--artefact",
        "-a",
        metavar="KIND",
        help="At a place: patch, glyph, stamp, line, frame. On the whole image: brightness, tint, contrast, blur,"
        " noise, jpeg, aspect.",
    ),
]
Place = Annotated[
    str | None,
    typer.Option(
        metavar="PLACE",
        help="upper-left, upper, upper-right, left, center, right, lower-left, lower, lower-right, or wandering"
        " (another place in each image). Default: lower-right.",
    ),
]
Size = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE", help="Height or thickness as a share of the shorter side (default: depends on the kind)."
    ),
]
Strength = Annotated[float, typer.Option(metavar="S", help="Opacity, or strength of the change, up to 1.")]
Share = Annotated[float, typer.Option(metavar="SHARE", help="Share of the class's images that get the artefact.")]
Elsewhere = Annotated[
    float, typer.Option(metavar="SHARE", help="Share of the other classes' images that get the artefact.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="DIR", help="Directory of the copy: a new or an empty one.")
]


@dataclass(frozen=True)
class Copy:
    """One image of the copy: its path in the directory, its class, whether it has the artefact, and its box."""

    path: str
    class_name: str
    planted: bool
    box: "Box | None"


def plant(
    data: Data,
    class_name: Class,
    artefact: ArtefactKind = "patch",
    place: Place = None,
    size: Size = None,
    strength: Strength = 1.0,
    share: Share = 0.95,
    elsewhere: Elsewhere = 0.0,
    output: Output = Path("camlens-planted"),
    seed: options.Seed = 0,
    json: options.Json = False,
) -> None:
    """Copy a labeled dataset and plant an artefact in most images of one class.

    Train a model on the copy and audit it: the audit should report the artefact. The copy is a folder per class of PNG
    files. planted.csv lists the images, and the box of the artefact if there is one. The seed chooses the images and
    the look of the artefact.

    Examples:

      camlens plant demo:photos --artefact stamp --class cat --output stamped-cats

      camlens plant list.parquet --artefact glyph --place wandering --class espresso --share 1
    """
    from camlens.data.planting import Artefact
    from camlens.data.sources import open_source

    for name, value in (("share", share), ("elsewhere", elsewhere)):
        if not 0 <= value <= 1:
            raise invalid_argument(name, value, "a number from 0 to 1")
    planted = Artefact(artefact, place, size, strength, look=seed)
    _check_empty(output)
    source = open_source(data, seed=seed)
    if not source.class_names:
        raise DataError(
            f"{data} has no classes: pass a folder per class, or a manifest with labels", code="data.no-classes"
        )
    names = source.class_names
    label = names.index(class_name) if class_name in names else class_index(class_name, names)
    failed: list[str] = []
    with result_directory(output) as directory, bar("Planting", len(source)) as progress:
        carriers = _carriers([sample.label for sample in source], label, share, elsewhere, seed)
        copies = list(progress.each(_copies(source, planted, carriers, directory, seed, failed)))
        if copies:
            _write_list(copies, directory / PLANTED)
    for reason in failed:
        print_error(f"error: {reason}")
    count = sum(copy.planted for copy in copies)
    if json:
        facts = {"output": str(output), "images": len(copies), "planted": count, "class": names[label]}
        print_json({**facts, "artefact": artefact, "failed": failed})
    else:
        typer.echo(f"{len(copies):,} images, {count:,} with a {artefact} -> {output}")
    if failed:
        raise typer.Exit(1)


def _carriers(labels: Sequence[int | None], label: int, share: float, elsewhere: float, seed: int) -> set[int]:
    """Return the indices of the images that get the artefact: exact shares of the class and of all others."""
    import numpy as np

    order = np.random.default_rng([seed, 0]).permutation(len(labels))
    chosen: set[int] = set()
    for part, group in ((share, True), (elsewhere, False)):
        members = [int(index) for index in order if (labels[index] == label) is group]
        chosen.update(members[: round(part * len(members))])
    return chosen


def _copies(
    source: "Source", artefact: "Artefact", carriers: set[int], directory: Path, seed: int, failed: list[str]
) -> Iterator[Copy]:
    """Write the images and yield the entries of the list; unreadable images are added to `failed`."""
    import numpy as np
    from PIL import Image

    from camlens.data.planting import plant as plant_in

    seeds = np.random.default_rng([seed, 1]).integers(2**32, size=len(source))
    taken: dict[str, set[str]] = {}
    for index, sample in enumerate(source):
        if sample.class_name is None:
            continue
        try:
            image, box = sample.load(), None
        except DataError as error:
            failed.append(str(error))
            continue
        if index in carriers:
            image, box = plant_in(image, artefact, seed=int(seeds[index]))
        folder = sample.class_name.replace("/", "-").replace("\\", "-").strip(".") or "class"
        name = f"{folder}/{free_stem(Path(sample.id), taken.setdefault(folder, set()))}.png"
        (directory / folder).mkdir(exist_ok=True)
        Image.fromarray(image).save(directory / name)
        yield Copy(name, sample.class_name, index in carriers, box)


def _write_list(copies: Sequence[Copy], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["image", "class", "planted", "left", "top", "right", "bottom"])
        for copy in copies:
            writer.writerow([copy.path, copy.class_name, int(copy.planted), *(copy.box or [""] * 4)])


def _check_empty(directory: Path) -> None:
    """Raise StoreError if `directory` exists and is not an empty directory."""
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise StoreError(
            f"{directory} is not an empty directory: pass --output a new or an empty one",
            code="output.exists",
            path=str(directory),
        )
