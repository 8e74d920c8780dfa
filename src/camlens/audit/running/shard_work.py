"""Computing shards, one at a time: load images, run the model, collect columns, write the file."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from camlens.audit.running.engine import Step
from camlens.audit.running.loading import Batch, PlannedImages, batches, one_line
from camlens.audit.running.observing import Observer
from camlens.audit.store.manifest import Manifest
from camlens.audit.store.run_directory import RunDirectory
from camlens.audit.store.schema import ARRAYS, FLOATS, LISTS, row_schema, rows_table

_NOT_FINITE = "the model's output is not finite"


@final
@dataclass(frozen=True, eq=False)
class ShardWork:
    """Computes shards of a run.

    `labels` are -1 if unknown. `example` is an image on which the model is known to run.
    """

    directory: RunDirectory
    manifest: Manifest
    images: PlannedImages
    labels: NDArray[np.int64]
    observer: Observer
    workers: int
    example: Float[Tensor, "1 c h w"]

    def __call__(self, shards: Sequence[int]) -> Iterator[Step]:
        """Compute and commit these shards, and yield a step for each batch."""
        wanted = [(shard, places) for shard in shards for places in self._batches_of(shard)]
        pinned = next(self.observer.model.parameters(), torch.empty(0)).is_cuda
        parts: list[dict[str, Any]] = []
        loaded = batches(self.images, [places for _, places in wanted], workers=self.workers, pinned=pinned)
        with closing(loaded):
            for (shard, places), batch in zip(wanted, loaded, strict=True):
                parts.append(self._columns(batch))
                finished = places[-1] + 1 == self._rows(shard).stop
                if finished:
                    self._commit(shard, parts)
                    parts = []
                yield Step(len(places), shard if finished else None)

    def _rows(self, shard: int) -> range:
        return self.manifest.shard_rows(shard)

    def _batches_of(self, shard: int) -> Iterator[range]:
        rows, size = self._rows(shard), self.manifest.batch_size
        return (rows[start : start + size] for start in range(0, len(rows), size))

    def _commit(self, shard: int, parts: Sequence[dict[str, Any]]) -> None:
        columns = {
            name: np.concatenate([part[name] for part in parts])
            if isinstance(values, np.ndarray)
            else [value for part in parts for value in part[name]]
            for name, values in parts[0].items()
        }
        schema = row_schema(self.manifest.embedding_width, self.manifest.grid)
        self.directory.write_shard(shard, rows_table(columns, schema), self.manifest)

    def _observed(
        self, images: Tensor, labels: Tensor, inside: Tensor | None
    ) -> tuple[dict[str, NDArray[Any]], dict[int, str]]:
        """Return the columns of the images on which the model runs, and the error of each other image by its index.

        A batch on which the model raises is split in halves. An exception that the model also raises on the example
        is not caused by the image, and is not caught.
        """
        try:
            return self.observer(images, labels, inside), {}
        except Exception as error:  # noqa: BLE001  # the model is the user's code and may raise anything
            if len(images) == 1:
                self.observer(self.example, torch.tensor([-1]))
                return {}, {0: f"the model failed on this image: {one_line(error)}"}
        half = len(images) // 2
        first, failed = self._observed(images[:half], labels[:half], None if inside is None else inside[:half])
        second, later = self._observed(images[half:], labels[half:], None if inside is None else inside[half:])
        parts = [values for values in (first, second) if values]
        values = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
        return values, failed | {half + place: reason for place, reason in later.items()}

    def _columns(self, batch: Batch) -> dict[str, Any]:
        """Return the columns of a batch. Columns that come from the model are null in rows with an error."""
        rows, count = batch.rows, len(batch.rows)
        labels = self.labels[[row.index for row in rows]]
        errors = [row.error for row in rows]
        answered = np.flatnonzero([error is None for error in errors])
        values: dict[str, NDArray[Any]] = {}
        if batch.images is not None:
            values, failed = self._observed(batch.images, torch.from_numpy(labels[answered]), batch.inside)
            for index, reason in failed.items():
                errors[answered[index]] = reason
            answered = np.delete(answered, list(failed))
        if values:
            finite = values.pop("finite")
            for place in answered[~finite]:
                errors[place] = _NOT_FINITE
            answered, values = answered[finite], {name: column[finite] for name, column in values.items()}
        wide = {
            "embedding": self.manifest.embedding_width,
            **dict.fromkeys(ARRAYS[1:], int(np.prod(self.manifest.grid))),
        }
        columns: dict[str, Any] = {name: np.full(count, np.nan, np.float32) for name in FLOATS}
        columns |= {name: np.full((count, width), np.nan, np.float16) for name, width in wide.items()}
        columns["predicted"] = np.full(count, -1)
        for name in columns:
            if name in values:
                columns[name][answered] = values[name]
        for name in LISTS:
            lists: list[Any] = [None] * count
            for place, numbers in zip(answered, values.get(name, ()), strict=bool(values)):
                lists[place] = numbers.tolist()
            columns[name] = lists
        return columns | {
            "index": np.array([row.index for row in rows]),
            "id": [row.id for row in rows],
            "path": [row.path for row in rows],
            "label": labels,
            "width": np.array([row.width for row in rows]),
            "height": np.array([row.height for row in rows]),
            "error": errors,
        }
