"""Sources of images: labels are known at once, pixels are read on demand."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from camlens.data.decode import Pixels, decode_image

Mask = NDArray[np.bool_]
Box = tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Sample:
    """One image of a source.

    Attributes:
        id: unique within the source, and the same in every run.
        path: the image file, or None if the image is not a local file of its own.
        label: the index of the class, or None.
        class_name: the name of the class, or None.
        read: returns the pixels.
        read_mask: returns the object mask, or None for a sample without a mask.
        box: (left, top, right, bottom) in pixels of the upright image, right and bottom exclusive.
        url: the URL of a remote image.
        stamp: changes when the image changes, if the source can tell.
        accepted: further correct classes.
    """

    id: str
    path: Path | None
    label: int | None
    class_name: str | None
    read: Callable[[], Pixels] = field(repr=False)
    read_mask: Callable[[], Mask] | None = field(default=None, repr=False)
    box: Box | None = None
    url: str | None = None
    stamp: str | None = None
    accepted: tuple[str, ...] = ()

    @property
    def true_classes(self) -> tuple[str, ...]:
        """All correct classes, `class_name` first; empty if the image has no label."""
        return () if self.class_name is None else (self.class_name, *self.accepted)

    def load(self) -> Pixels:
        """Return the image as RGB uint8 (H, W, 3). Raises DataError if it cannot be read."""
        return self.read()

    def load_mask(self) -> Mask | None:
        """Return the object mask as bool (H, W), or None without one. Raises DataError if it cannot be read."""
        return None if self.read_mask is None else self.read_mask()


@runtime_checkable
class Source(Protocol):
    """A sequence of samples. Labels are indices into `class_names`, which is empty if nothing is labeled."""

    @property
    def class_names(self) -> list[str]:
        """The class names, in the order of the labels."""
        ...

    def __len__(self) -> int:
        """Return the number of samples."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """Return the sample at an index; negative indices count from the end."""
        ...

    def __iter__(self) -> Iterator[Sample]:
        """Iterate over the samples in order."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """A source that creates each sample on demand, with a function of its index."""

    class_names: list[str]
    count: int
    sample: Callable[[int], Sample] = field(repr=False)

    @classmethod
    def of(cls, samples: Sequence[Sample], class_names: Iterable[str] = ()) -> "Samples":
        """Return a source of these samples."""
        return cls(list(class_names), len(samples), samples.__getitem__)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not -self.count <= index < self.count:
            raise IndexError(f"index {index} is out of range (0 to {self.count - 1})")
        return self.sample(index % self.count)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(self.count))


def printable(name: str) -> str:
    """Return a file name as valid Unicode; bytes that are not UTF-8 become escapes such as \\udce9."""
    return name.encode("utf-8", "backslashreplace").decode()


def file_reader(path: Path, max_pixels: int) -> Callable[[], Pixels]:
    """Return a function that decodes the image file."""
    return partial(decode_image, path, max_pixels=max_pixels)


def bright_part(pixels: Pixels) -> Mask:
    """Return the bright pixels of a mask image, drawn in 0 and 1 or in 0 and 255."""
    values = pixels.max(axis=2)
    bright: Mask = values > values.max() / 2
    return bright
