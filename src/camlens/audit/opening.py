"""Reading a run: its rows as arrays, column by column and on demand."""

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray

from camlens.audit.findings.shortcuts import Shortcuts
from camlens.audit.store.arrow import arrow, parquet
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.run_directory import RunDirectory
from camlens.audit.store.schema import ARRAYS, FLOATS, INTEGERS, LISTS, STRINGS, row_schema
from camlens.core.arguments import check_choice
from camlens.core.errors import DataError, InputError, StoreError, invalid_argument
from camlens.data.decode import decode_image
from camlens.data.places import is_url
from camlens.data.samples import Sample, Source


class IncompleteRunWarning(UserWarning):
    """The opened run lacks some of its planned rows."""


Rows = Sequence[int] | NDArray[Any] | range | slice | None


def open_run(path: str | Path, *, source: str | Path | Source | None = None) -> "Audit":
    """Open the run in a directory, complete or not. Shards that are committed later are not seen.

    No rows are read, so that damage inside a shard is detected later: each page of a column has a checksum that is
    verified whenever it is read. Resuming a run verifies whole shards.

    Args:
        path: the directory of the run.
        source: the images, if they have moved since the run.

    Raises:
        StoreError: the directory holds no run.
        MissingExtraError: pyarrow is not installed.

    Warns:
        IncompleteRunWarning: shards are missing, have a damaged footer, or belong to another run.
    """
    directory = RunDirectory(Path(path).expanduser())
    manifest = Manifest.read(directory.manifest_path)
    audit = Audit(directory.path, manifest, tuple(directory.present(manifest)), source)
    if not audit.complete:
        absent = manifest.shards - len(audit.shards)
        warnings.warn(
            f"{audit.path} lacks {audit.missing:,} of its {manifest.rows:,} rows ({absent} of {manifest.shards} shards"
            " are missing or damaged): run the same `camlens audit` command again to resume",
            IncompleteRunWarning,
            stacklevel=2,
        )
    return audit


@dataclass(frozen=True, eq=False)
class Audit:
    """An opened run. Rows are numbered from 0 in the order of the plan; rows of missing shards are left out.

    Columns are read on demand, and cached unless they hold embeddings or maps. Safe to share between threads.
    """

    path: Path
    manifest: Manifest
    shards: tuple[int, ...]
    source: str | Path | Source | None = None
    _kept: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the model's classes. Labels and predictions are indices into them."""
        return self.manifest.class_names

    @property
    def grid(self) -> tuple[int, int]:
        """The (height, width) of a map in cells."""
        return self.manifest.grid

    @property
    def complete(self) -> bool:
        """Whether every planned image has a row."""
        return self.missing == 0

    @property
    def missing(self) -> int:
        """The number of planned images without a row."""
        return self.manifest.rows - len(self)

    @property
    def shortcuts(self) -> Shortcuts | None:
        """What was tested as a shortcut, and the result; None if the tests were not run.

        Raises StoreError if the file is damaged.
        """
        return Shortcuts.read(RunDirectory(self.path).shortcuts_path)

    def parts(self) -> Iterator[range]:
        """Yield the rows of each shard, to read embeddings or maps with bounded memory."""
        for start, stop in zip(self._starts[:-1], self._starts[1:], strict=True):
            yield range(int(start), int(stop))

    def column(self, name: str) -> NDArray[Any]:
        """Return one column of all rows.

        Floats are float32, with NaN for null. Integers and `correct` are masked arrays, whose `.filled()` has -1 and
        False for null; `index` is plain int64. Strings are objects, with None for null. `top_classes` and
        `top_confidences` are (n, k), with -1 and NaN for null. `embedding` and the maps are as `embeddings` and `maps`
        return them.
        """
        self._check_columns([name])
        if name == "embedding":
            return self.embeddings()
        if name in ARRAYS:
            return self.maps(None, "label" if name == "map_label" else "predicted")
        if name not in self._kept:
            self._kept[name] = _as_numpy(name, self.table([name]).column(name))
        kept: NDArray[Any] = self._kept[name]
        return kept.copy()

    def table(self, columns: Sequence[str] | None = None) -> Any:
        """Return the rows as a pyarrow.Table. Its maps are divided by their scale, as they are stored."""
        names = list(self._schema.names if columns is None else columns)
        self._check_columns(names)
        tables = [self._read(shard, names) for shard in self.shards]
        schema = arrow().schema([self._schema.field(name) for name in names])
        return arrow().concat_tables(tables) if tables else schema.empty_table()

    def embeddings(self, rows: Rows = None) -> Float[np.ndarray, "n d"]:
        """Return embeddings, float32; NaN for rows with an error. `rows` is indices, a slice or a mask."""
        return self._lists("embedding", self._places(rows), self.manifest.embedding_width)

    def maps(self, rows: Rows = None, which: str = "predicted") -> Float[np.ndarray, "n h w"]:
        """Return signed maps at the layer's resolution, float32; NaN if there is no map.

        `which` is "predicted", or "label" for the true class of images whose prediction is wrong. `rows` is indices, a
        slice or a mask.
        """
        check_choice("which", which, ("predicted", "label"))
        places = self._places(rows)
        height, width = self.grid
        maps = self._lists(f"map_{which}", places, height * width)
        scales = self.column(f"map_{which}_scale")[places]
        maps *= scales[:, None]
        return maps.reshape(-1, height, width)

    def image(self, row: int) -> NDArray[np.uint8]:
        """Read the image (H, W, 3) of a row, from its file if that exists, or else from the source.

        Raises DataError if the image no longer exists.
        """
        path = self.column("path")[self._places([row])[0]]
        if self.source is None and path is not None and not is_url(path) and os.path.isfile(path):
            return decode_image(path)  # faster: the source would first list all images
        return self.sample(row).load()

    def sample(self, row: int) -> Sample:
        """Return the sample of a row from the source, with its mask or box."""
        (place,) = self._places([row])
        source, name = self._source, str(self.column("id")[place])
        index = self._index_of_id.get(name)
        if index is None:
            raise DataError(
                f"image {name} is no longer in {self.source or self.manifest.data}: pass source=",
                code="data.gone",
                image=name,
            )
        return source[index]

    @cached_property
    def _schema(self) -> Any:
        return row_schema(self.manifest.embedding_width, self.grid)

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The first row of each shard, and the number of rows."""
        lengths = [len(self.manifest.shard_rows(shard)) for shard in self.shards]
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)

    @cached_property
    def _source(self) -> Source:
        from camlens.data.sources import open_source

        data = self.source if self.source is not None else self.manifest.data
        if data is None:
            raise DataError(
                f"the location of the images of {self.path} is unknown: open the run with source=",
                code="data.unknown-place",
                path=str(self.path),
            )
        return open_source(data) if isinstance(data, str | Path) else data

    @cached_property
    def _index_of_id(self) -> Mapping[str, int]:
        return {sample.id: index for index, sample in enumerate(self._source)}

    def _check_columns(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self._schema.names:
                raise InputError(
                    f"unknown column {name!r}: choose from {', '.join(self._schema.names)}",
                    code="column.unknown",
                    column=name,
                )

    def _read(self, shard: int, names: Sequence[str]) -> Any:
        path = RunDirectory(self.path).shard_path(shard)
        try:
            with parquet().ParquetFile(path, memory_map=True, page_checksum_verification=True) as file:
                return file.read(columns=list(names))
        except (OSError, arrow().ArrowException) as error:
            raise StoreError(
                f"cannot read {path}: {error}. Run the same `camlens audit` command again to repair it",
                code="store.shard-damaged",
                shard=shard,
            ) from error

    def _lists(self, name: str, places: NDArray[np.int64], length: int) -> NDArray[np.float32]:
        """Read rows of a column of lists, one shard at a time."""
        values = np.empty((len(places), length), np.float32)
        owners = np.searchsorted(self._starts, places, side="right") - 1
        for owner in np.unique(owners):
            chosen = np.flatnonzero(owners == owner)
            within = places[chosen] - self._starts[owner]
            column = self._read(self.shards[owner], [name]).column(name).combine_chunks()
            values[chosen] = _lists_at(column, within, length)
        return values

    def _places(self, rows: Rows) -> NDArray[np.int64]:
        count = len(self)
        if rows is None or isinstance(rows, slice):
            return np.arange(count)[rows or slice(None)]
        places = np.asarray(rows)
        if places.dtype == np.bool_:
            if places.shape != (count,):
                raise InputError(
                    f"a mask of rows must have shape ({count},), not {places.shape}",
                    code="rows.mask",
                    shape=places.shape,
                    rows=count,
                )
            return np.flatnonzero(places)
        if places.size == 0:
            return np.zeros(0, np.int64)
        if places.ndim != 1 or not np.issubdtype(places.dtype, np.integer):
            raise invalid_argument("rows", rows, "a list of indices, a slice or a mask")
        if places.min() < -count or places.max() >= count:
            worst = places.min() if places.min() < -count else places.max()
            raise InputError(
                f"row {int(worst)} is out of range: the run has {count} rows (0 to {count - 1})",
                code="row.out-of-range",
                row=int(worst),
                rows=count,
            )
        return (places.astype(np.int64) + count) % count


# Columns are read from pyarrow's buffers: its own conversions import pandas, which takes longer than reading all rows.


def _lists_at(column: Any, places: NDArray[np.int64], length: int) -> NDArray[np.float16]:
    """Return some lists of a fixed-size column as (places, length); NaN if a list is null."""
    values = column.values.slice(column.offset * length, len(column) * length)
    lists: NDArray[np.float16] = _filled(values, np.nan).reshape(-1, length)[places]
    if column.null_count:
        lists[_is_null(column)[places]] = np.nan
    return lists


def _as_numpy(name: str, column: Any) -> NDArray[Any]:
    if name in LISTS:
        return _padded(column, -1 if name == "top_classes" else np.nan)
    if name in STRINGS:
        return np.array(column.to_pylist(), dtype=object)
    column = column.combine_chunks()
    if name in INTEGERS or name == "correct":
        kind, blank = (np.bool_, False) if name == "correct" else (np.int64, -1)
        return np.ma.MaskedArray(_filled(column, blank).astype(kind), _is_null(column), fill_value=blank)
    if name in FLOATS:
        return _filled(column, np.nan).astype(np.float32)
    return _filled(column, -1)


def _filled(values: Any, blank: float | int | bool) -> NDArray[Any]:
    """Return an array of numbers or booleans with `blank` for null."""
    numbers = _in_memory(values)
    return np.where(_is_null(values), numbers.dtype.type(blank), numbers) if values.null_count else numbers


def _is_null(values: Any) -> NDArray[np.bool_]:
    return _in_memory(values.is_null()).astype(np.bool_)


def _in_memory(values: Any) -> NDArray[Any]:
    """Return the buffer of an array, booleans as 0 and 1; values of nulls are arbitrary."""
    if arrow().types.is_boolean(values.type):
        values = values.cast(arrow().uint8())
    kind = np.dtype(values.type.to_pandas_dtype())
    if not len(values):
        return np.zeros(0, kind)
    return np.frombuffer(values.buffers()[1], kind, len(values), values.offset * kind.itemsize)


def _padded(column: Any, blank: float | int) -> NDArray[Any]:
    """Return a column of lists as (n, longest), padded with `blank`."""
    column = column.combine_chunks()
    lengths = _filled(column.value_lengths(), 0)
    padded = np.full((len(lengths), int(lengths.max(initial=0))), blank, np.int64 if blank == -1 else np.float32)
    padded[np.arange(padded.shape[1]) < lengths[:, None]] = _filled(column.flatten(), blank)
    return padded
