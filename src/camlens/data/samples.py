"""What sources are made of: samples whose labels are known at once, whose pixels are read when asked for."""

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
    """One image of a source: what is known of it, and how to get its pixels.

    `id` is unique within its source and the same on every run. `path` is None where the image is no file of
    its own, or one behind `url`. `box` is (left, top, right, bottom) in pixels of the upright image, right and
    bottom exclusive. `stamp` changes when the image does, where the source can tell. `accepted` names further
    classes that are right as well as `class_name`.
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
        """Every class that is right, `class_name` first; empty if the image has no label."""
        return () if self.class_name is None else (self.class_name, *self.accepted)

    def load(self) -> Pixels:
        """The image as RGB uint8 (H, W, 3). Raises DataError where it cannot be read."""
        return self.read()

    def load_mask(self) -> Mask | None:
        """Where the object is, as bool (H, W); None where nobody drew it. Raises DataError as load does."""
        return None if self.read_mask is None else self.read_mask()


@runtime_checkable
class Source(Protocol):
    """A sequence of samples whose labels are indices into `class_names` (empty where nothing is labelled)."""

    @property
    def class_names(self) -> list[str]:
        """The classes, in the order of the labels."""
        ...

    def __len__(self) -> int:
        """How many samples there are."""
        ...

    def __getitem__(self, index: int) -> Sample:
        """The sample at an index, from the end where it is negative; IndexError where there is none."""
        ...

    def __iter__(self) -> Iterator[Sample]:
        """All samples in order."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """A source whose samples are made by a function of their index, as they are asked for."""

    class_names: list[str]
    count: int
    sample: Callable[[int], Sample] = field(repr=False)

    @classmethod
    def of(cls, samples: Sequence[Sample], class_names: Iterable[str] = ()) -> "Samples":
        """A source of exactly these samples."""
        return cls(list(class_names), len(samples), samples.__getitem__)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Sample:
        if not -self.count <= index < self.count:
            raise IndexError(f"sample {index} of {self.count}")
        return self.sample(index % self.count)

    def __iter__(self) -> Iterator[Sample]:
        return (self.sample(index) for index in range(self.count))


def printable(name: str) -> str:
    """Return a file name as valid Unicode: bytes that are not UTF-8 become escapes such as \\udce9."""
    return name.encode("utf-8", "backslashreplace").decode()


def file_reader(path: Path, max_pixels: int) -> Callable[[], Pixels]:
    """What decodes the image file when it is called."""
    return partial(decode_image, path, max_pixels=max_pixels)


def bright_part(pixels: Pixels) -> Mask:
    """Where a mask image is bright, be it drawn in 0 and 1 or in 0 and 255."""
    values = pixels.max(axis=2)
    bright: Mask = values > values.max() / 2
    return bright
