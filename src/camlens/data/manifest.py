"""A data set as a table: one image per row, with its label, its box and its mask where they are known."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from camlens.core.errors import DataError
from camlens.data.decode import MAX_PIXELS
from camlens.data.samples import Box, Sample, Samples, Source, file_reader, mask_reader

_LARGEST_LABEL = 100_000


def manifest(path: str | Path, *, root: str | Path | None = None, max_pixels: int = MAX_PIXELS) -> Source:
    """The source that a CSV (or .tsv) file lists; its header names `path` and maybe `label`, `box`, `mask`.

    Paths are relative to `root`, by default the manifest's own directory, and may not leave it. Labels are
    class names (then sorted), or whole numbers (then taken as the indices that they are). A box is "left top
    right bottom" in pixels, separated by blanks, commas or semicolons. A mask is an image file in which the
    object is bright.

    Raises DataError, naming file and line, for what cannot be understood; images are looked at when they are
    loaded.
    """
    file = Path(path).expanduser()
    base = file.parent if root is None else Path(root).expanduser()
    rows = _rows(file)
    labels = _labels([(where, row["label"]) for where, row in rows if row.get("label")])
    class_names = [f"class {index}" for index in range(max(labels.values(), default=-1) + 1)]
    for name, index in labels.items():
        class_names[index] = class_names[index] if name.isdecimal() else name
    samples, taken = [], set[str]()
    for where, row in rows:
        name = row["path"] if row["path"] not in taken else f"{row['path']}#{len(taken) + 1}"
        taken.add(name)
        label = labels[row["label"]] if row.get("label") else None
        samples.append(
            Sample(
                id=name,
                path=_inside(base, row["path"], where),
                label=label,
                class_name=None if label is None else class_names[label],
                read=file_reader(_inside(base, row["path"], where), max_pixels),
                read_mask=mask_reader(_inside(base, row["mask"], where), max_pixels) if row.get("mask") else None,
                box=_box(row["box"], where) if row.get("box") else None,
            )
        )
    return Samples.of(samples, class_names)


def _rows(file: Path) -> list[tuple[str, dict[str, str]]]:
    """The rows with the place each stands at; column names in lower case, blanks around values taken off."""
    try:
        with file.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
            reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
            if "path" not in reader.fieldnames:
                raise DataError(
                    f"{file} has no column `path` (found: {', '.join(reader.fieldnames) or 'nothing'}): its"
                    " first line"
                    " names the columns, path[,label][,box][,mask]"
                )
            rows = [
                (
                    f"{file}, line {reader.line_num}",
                    {name: (row[name] or "").strip() for name in reader.fieldnames},
                )
                for row in reader
            ]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file} cannot be read as a manifest: {error}") from error
    if not rows:
        raise DataError(f"{file} lists no images: it has a header only")
    for where, row in rows:
        if not row["path"]:
            raise DataError(f"{where}: the path is empty")
    return rows


def _labels(named: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Each label's index: the number it is, where all are numbers, else its place among the sorted names."""
    if not all(label.isdecimal() for _, label in named):
        return {label: index for index, label in enumerate(sorted({label for _, label in named}))}
    for where, label in named:
        if len(label) > 9 or int(label) > _LARGEST_LABEL:
            raise DataError(
                f"{where}: label {label} is larger than {_LARGEST_LABEL}, too large for the index of a class"
            )
    return {label: int(label) for _, label in named}


def _inside(base: Path, name: str, where: str) -> Path:
    path = Path(os.path.normpath(base / name))
    if not path.is_relative_to(os.path.normpath(base)):
        raise DataError(f"{where}: {name} lies outside of {base}; where that is meant, say root=DIRECTORY")
    return path


def _box(text: str, where: str) -> Box:
    try:
        left, top, right, bottom = (round(float(number)) for number in text.replace(",", " ").replace(";", " ").split())
    except (ValueError, OverflowError) as error:
        raise DataError(f'{where}: a box is "left top right bottom" in pixels, not {text!r}') from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise DataError(f"{where}: box {text!r} is empty; it needs 0 <= left < right and 0 <= top < bottom")
    return left, top, right, bottom
