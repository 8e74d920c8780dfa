"""Datasets listed in a CSV, TSV or Parquet file: one row per image, with optional label, box and mask."""

import csv
import importlib
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from camlens.core.errors import DataError, MissingExtraError
from camlens.data.decode import MAX_PIXELS
from camlens.data.places import inside, is_url, place_of, split_url
from camlens.data.samples import Box, Samples, Source

_LARGEST_LABEL = 100_000
_COLUMNS = ("path", "label", "box", "mask")

Rows = list[tuple[str, dict[str, str]]]


def manifest(path: str | Path, *, root: str | Path | None = None, max_pixels: int = MAX_PIXELS) -> Source:
    """Open a CSV, TSV or Parquet file with the columns `path` and optionally `label`, `box`, `mask`.

    The file and its images may be at a URL. Paths are relative to `root`, by default the directory of the manifest,
    and must lie inside it. Labels are class names, or class indices if all are integers. A box is
    "left top right bottom" in pixels, separated by spaces, commas or semicolons, or a list of four numbers in Parquet.
    A mask is an image file in which the object is bright.

    Raises DataError with file and line if a row is invalid. Images are not read before they are loaded.
    """
    directory, name = split_url(str(path)) if is_url(path) else _split(Path(path))
    try:
        content = place_of(directory).read(name)
    except DataError as error:
        raise DataError(
            f"{path} cannot be read as a manifest: {error}", code="manifest.unreadable", path=str(path)
        ) from error
    rows = _rows(content, str(path), name)
    place = place_of(directory if root is None else root)
    labels = _labels([(where, row["label"]) for where, row in rows if row.get("label")])
    class_names = [f"class {index}" for index in range(max(labels.values(), default=-1) + 1)]
    for text, index in labels.items():
        class_names[index] = class_names[index] if text.isdecimal() else text
    samples, taken = [], set[str]()
    for where, row in rows:
        name = row["path"] if row["path"] not in taken else f"{row['path']}#{len(taken) + 1}"
        taken.add(name)
        label = labels[row["label"]] if row.get("label") else None
        samples.append(
            place.sample(
                inside(place, row["path"], where),
                max_pixels,
                id=name,
                label=label,
                class_name=None if label is None else class_names[label],
                mask=inside(place, row["mask"], where) if row.get("mask") else None,
                box=_box(row["box"], where) if row.get("box") else None,
            )
        )
    return Samples.of(samples, class_names)


def _split(path: Path) -> tuple[Path, str]:
    path = path.expanduser()
    return path.parent, path.name


def _rows(content: bytes, file: str, name: str) -> Rows:
    """Return the rows with their line numbers; column names are lower-cased and values stripped."""
    suffix = Path(name).suffix.lower()
    try:
        if suffix in (".parquet", ".pq"):
            columns, rows = _parquet_rows(content, file)
        else:
            columns, rows = _text_rows(content, file, "\t" if suffix == ".tsv" else ",")
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"{file} cannot be read as a manifest: {error}", code="manifest.unreadable", path=str(file)
        ) from error
    if "path" not in columns:
        raise DataError(
            f"{file} has no column `path` (columns: {', '.join(columns) or 'none'}): the first line must name the"
            " columns, path[,label][,box][,mask]",
            code="manifest.no-path-column",
            path=str(file),
            columns=list(columns),
        )
    if not rows:
        raise DataError(f"{file} lists no images: it has only a header", code="data.no-images", path=str(file))
    for where, row in rows:
        if not row["path"]:
            raise DataError(f"{where}: the path is empty", code="manifest.row", row=where, image="")
    return rows


def _text_rows(content: bytes, file: str, delimiter: str) -> tuple[Sequence[str], Rows]:
    reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), delimiter=delimiter)
    reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or ()]
    return reader.fieldnames, [
        (f"{file}, line {reader.line_num}", {name: (row[name] or "").strip() for name in reader.fieldnames})
        for row in reader
    ]


def _parquet_rows(content: bytes, file: str) -> tuple[Sequence[str], Rows]:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError.of("pyarrow", "audit") from error
    table = parquet.ParquetFile(io.BytesIO(content))
    columns = {name.strip().lower(): name for name in table.schema_arrow.names}
    known = {name: columns[name] for name in _COLUMNS if name in columns}
    records: list[Mapping[str, Any]] = table.read(columns=list(known.values())).to_pylist()
    return list(columns), [
        (f"{file}, row {number}", {name: _text(record[column]) for name, column in known.items()})
        for number, record in enumerate(records, start=1)
    ]


def _text(value: object) -> str:
    """Return a value of a Parquet column as it would be written in a CSV file."""
    if value is None or value != value:  # NaN is a missing number
        return ""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # integer columns with missing values become floats
    return str(value).strip()


def _labels(named: Sequence[tuple[str, str]]) -> dict[str, int]:
    """Return the index of each label: its integer value if all are integers, else its place in sorted order."""
    if not all(label.isdecimal() for _, label in named):
        return {label: index for index, label in enumerate(sorted({label for _, label in named}))}
    for where, label in named:
        if len(label) > 9 or int(label) > _LARGEST_LABEL:
            raise DataError(
                f"{where}: label {label} is too large for a class index (at most {_LARGEST_LABEL})",
                code="manifest.row",
                row=where,
                label=label,
            )
    return {label: int(label) for _, label in named}


def _box(text: str, where: str) -> Box:
    try:
        left, top, right, bottom = (round(float(number)) for number in text.replace(",", " ").replace(";", " ").split())
    except (ValueError, OverflowError) as error:
        raise DataError(
            f'{where}: a box must be "left top right bottom" in pixels, not {text!r}',
            code="manifest.row",
            row=where,
            box=text,
        ) from error
    if not (0 <= left < right and 0 <= top < bottom):
        raise DataError(
            f"{where}: box {text!r} is empty: 0 <= left < right and 0 <= top < bottom must hold",
            code="manifest.row",
            row=where,
            box=text,
        )
    return left, top, right, bottom
