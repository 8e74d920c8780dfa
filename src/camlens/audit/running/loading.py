"""Batches of preprocessed images in the order of the plan; unreadable images are rows with an error."""

import os
import pickle
import signal
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d
from torch.utils.data import DataLoader, Dataset

from camlens.core.errors import CamlensError, DataError, InputError
from camlens.data.samples import Sample, Source, printable
from camlens.models.loading import Preprocessing


@dataclass(frozen=True, eq=False)
class Row:
    """One planned image: its metadata, and the preprocessed image or the error."""

    index: int
    id: str
    path: str | None
    width: int = -1
    height: int = -1
    image: Tensor | None = None
    inside: Tensor | None = None
    error: str | None = None


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows in order, and the stacked images of those without an error; `inside` is NaN if unknown."""

    rows: tuple[Row, ...]
    images: Tensor | None
    inside: Tensor | None

    def pin_memory(self) -> "Batch":
        """Return the batch in pinned memory (called by the DataLoader)."""
        return Batch(self.rows, None if self.images is None else self.images.pin_memory(), self.inside)


@dataclass(frozen=True, eq=False)
class PlannedImages(Dataset[Row]):
    """The images of a plan, preprocessed to `shape` (c, h, w), with object masks at the size of the maps."""

    source: Source
    places: Sequence[int]
    preprocess: Preprocessing
    shape: tuple[int, ...]
    grid: tuple[int, int]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> Row:
        sample = self.source[self.places[index]]
        metadata: dict[str, Any] = {"index": index, "id": sample.id, "path": _location(sample)}
        try:
            pixels = sample.load()
            image = self._prepared(pixels)
            height, width = pixels.shape[:2]
            return Row(**metadata, width=width, height=height, image=image, inside=self._inside(sample, pixels))
        except Exception as error:  # noqa: BLE001  # a user's transform may raise anything
            return Row(**metadata, error=one_line(error))

    def _prepared(self, pixels: NDArray[np.uint8]) -> Float[Tensor, "c h w"]:
        image = self.preprocess(pixels)
        if tuple(image.shape) != self.shape:
            raise InputError(
                f"the preprocessed image has shape {tuple(image.shape)}, but the first one has {self.shape}: end the"
                " preprocessing with a crop or a resize to a fixed size",
                code="preprocess.shape",
                shape=tuple(image.shape),
                expected=self.shape,
            )
        # a finite sum has finite terms; numpy's sum is single-threaded, which is faster here
        if not np.isfinite(image.detach().float().numpy().sum()) and not image.isfinite().all():
            raise InputError(
                "the preprocessed image contains NaN or infinite values: check the preprocessing",
                code="input.not-finite",
            )
        return image

    def _inside(self, sample: Sample, pixels: NDArray[np.uint8]) -> Float[Tensor, "gh gw"] | None:
        """Return the share of each cell of the map that lies on the object, or None without a mask or box."""
        mask = sample.load_mask()
        if mask is None and sample.box is not None:
            left, top, right, bottom = sample.box
            mask = np.zeros(pixels.shape[:2], np.bool_)
            mask[top:bottom, left:right] = True
        if mask is None:
            return None
        if mask.shape != pixels.shape[:2]:
            raise DataError(
                f"the mask of {sample.id} has size {mask.shape}, but the image has {pixels.shape[:2]}",
                code="mask.shape",
                image=sample.id,
                shape=mask.shape,
            )
        seen = torch.from_numpy(self.preprocess.display_mask(mask).astype(np.float32))
        return adaptive_avg_pool2d(seen[None], self.grid)[0]


def one_line(error: Exception) -> str:
    """Return the error's message in one line of valid Unicode."""
    text = str(error) if isinstance(error, CamlensError) else f"{type(error).__name__}: {error}"
    return printable(" ".join(text.split()))


def _location(sample: Sample) -> str | None:
    """Return the image's URL or absolute path, or None if it has neither."""
    return sample.url if sample.path is None else printable(os.path.abspath(sample.path))


def loading_workers(images: PlannedImages, wanted: int | None) -> int:
    """Return the number of loader processes: `wanted`, or a default for this machine if it is None.

    Raises InputError if processes are wanted but the source or the preprocessing cannot be pickled.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = (0 if cores <= 2 else min(8, cores // 2)) if wanted is None else wanted
    if count:
        try:
            pickle.dumps(images)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            if wanted is None:
                return 0
            raise InputError(
                f"workers={wanted} requires a source and a preprocessing that can be pickled ({error}): set workers=0",
                code="workers.not-sendable",
                workers=wanted,
            ) from error
    return count


def batches(
    images: PlannedImages, places: Sequence[Sequence[int]], *, workers: int, pinned: bool = False
) -> Generator[Batch]:
    """Yield the batches whose rows are listed in `places`, in order, loaded by `workers` processes.

    Processes come from a fork server, so that no lock of a running thread is copied; they import the program's main
    module again.
    """
    loader: DataLoader[Any] = DataLoader(
        images,
        batch_sampler=list(map(list, places)),
        num_workers=workers,
        collate_fn=collated,
        pin_memory=pinned,
        worker_init_fn=_prepare_worker if workers else None,
        multiprocessing_context="forkserver" if workers else None,
        generator=torch.Generator(),  # otherwise the loader draws from the global random state
    )
    try:
        yield from loader
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise DataError(
            f"a process that loads images died, possibly because it ran out of memory ({' '.join(str(error).split())}):"
            " run the same command again with fewer workers to resume",
            code="workers.died",
        ) from error


def collated(rows: Sequence[Row]) -> Batch:
    """Collate rows into a batch, and move their images into it."""
    good = [row for row in rows if row.image is not None]
    if not good:
        return Batch(tuple(rows), None, None)
    images = torch.stack([row.image for row in good if row.image is not None])
    blank = None
    if any(row.inside is not None for row in good):
        shape = next(row.inside.shape for row in good if row.inside is not None)
        blank = torch.full(shape, torch.nan)
    inside = None if blank is None else torch.stack([blank if row.inside is None else row.inside for row in good])
    bare = tuple(Row(row.index, row.id, row.path, row.width, row.height, error=row.error) for row in rows)
    return Batch(bare, images, inside)


def _prepare_worker(_number: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is handled by the main process, which ends its workers
