"""Which region of the original picture a model's input shows."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import final

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

Picture = UInt8[np.ndarray, "_ _ 3"]
Region = tuple[float, float, float, float]
"""(left, top, right, bottom)."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)

_RAMPS = ((0, 255), (208, 48))  # the second one runs the other way, at another contrast
_LEVELS = 1.5  # how far, in 8-bit levels, a measured ramp may be from a straight line
_APART = 0.005  # how far, as a share of the picture, the regions measured by two ramps may lie apart


@final
@dataclass(frozen=True)
class Geometry:
    """How a model's input lies on the original picture.

    Attributes:
        picture: (height, width) of the original in pixels.
        region: (left, top, right, bottom) of what the input shows, in pixels of the original. Fractions are
            exact; the region reaches beyond the picture if the preprocessing pads.
        size: (height, width) of the input.
    """

    picture: tuple[int, int]
    region: Region
    size: tuple[int, int]

    @property
    def fractions(self) -> Region:
        """The region as fractions of the picture's width and height."""
        height, width = self.picture
        left, top, right, bottom = self.region
        return left / width, top / height, right / width, bottom / height

    @property
    def sees_everything(self) -> bool:
        """Whether no part of the picture was cropped away."""
        left, top, right, bottom = self.fractions
        return left <= 0 and top <= 0 and right >= 1 and bottom >= 1


@final
@dataclass(frozen=True, eq=False)
class View:
    """A picture and what a model saw of it.

    Attributes:
        name: the name of its file, or "".
        picture: the original, upright, uint8 (H, W, 3).
        crop: what the model saw, uint8 (h, w, 3).
        geometry: which region of the picture the crop shows, or None if that is unknown.
    """

    name: str
    picture: Picture
    crop: Picture
    geometry: Geometry | None

    def shown(self, *, crop: bool = False) -> tuple[Picture, Region]:
        """The picture to draw on, and the region of it that the model saw, in fractions.

        With `crop`, or if the geometry is unknown, the picture is what the model saw.
        """
        return (self.crop, WHOLE) if crop or self.geometry is None else (self.picture, self.geometry.fractions)

    def to_dict(self) -> dict[str, object]:
        """The name, the picture's (height, width), and the region that the model saw, in its pixels or null."""
        region = None if self.geometry is None else list(self.geometry.region)
        return {"name": self.name, "picture_size": list(self.picture.shape[:2]), "region": region}


@lru_cache(maxsize=64)
def measured_geometry(display: Callable[[Picture], Picture], height: int, width: int) -> Geometry | None:
    """The geometry of a preprocessing that is known only by what it does, or None.

    `display` is asked what the model would see of pictures whose grey levels are coordinates, and the region is
    read off by a straight line fitted to the levels, to a fraction of a pixel. Each axis is measured by two
    pictures. None is returned unless both agree, as they do not if the preprocessing draws at random, changes
    the contrast, mirrors, or bends.
    """
    regions, size = [], (0, 0)
    for levels in _RAMPS:
        ends = [0.0, 0.0, 0.0, 0.0]
        for axis, length in ((1, width), (0, height)):
            seen = display(_ramp((height, width), axis, levels))
            begin_end = _ends(seen.astype(np.float64), axis, levels, length)
            if begin_end is None:
                return None
            ends[1 - axis], ends[3 - axis] = begin_end
            size = seen.shape[:2]
        regions.append(ends)
    measured = np.mean(regions, axis=0)
    if np.ptp(regions, axis=0).max() > max(_APART, 0.5 / max(height, width)):
        return None
    edges = np.array([0, 0, 1, 1])
    close = np.abs(measured - edges) < 0.5 * (measured[[2, 3]] - measured[[0, 1]])[[0, 1, 0, 1]] / (
        *size[::-1],
        *size[::-1],
    )
    left, top, right, bottom = np.where(close, edges, measured).tolist()
    return Geometry((height, width), (left * width, top * height, right * width, bottom * height), size)


def _ramp(size: tuple[int, int], axis: int, levels: tuple[int, int]) -> Picture:
    """A grey picture that runs from one level to the other along an axis."""
    shares = (np.arange(size[axis]) + 0.5) / size[axis]
    line = np.round(levels[0] + (levels[1] - levels[0]) * shares).astype(np.uint8)
    column = line[:, None, None] if axis == 0 else line[None, :, None]
    return np.ascontiguousarray(np.broadcast_to(column, (*size, 3)))


def _ends(seen: NDArray[np.float64], axis: int, levels: tuple[int, int], length: int) -> tuple[float, float] | None:
    """Where the input begins and ends along one axis, as fractions of the picture's length."""
    line = (seen[:, seen.shape[1] // 2] if axis == 0 else seen[seen.shape[0] // 2]).mean(axis=1)
    places = (np.arange(len(line)) + 0.5) / len(line)
    # the ends of a ramp lie next to padding, or are bent by the filter that resizes
    inside = (line > min(levels) + 4) & (line < max(levels) - 4)
    if inside.sum() < 3:
        return None
    slope, level = np.polyfit(places[inside], line[inside], 1)
    if np.abs(level + slope * places[inside] - line[inside]).max() > max(_LEVELS, 256 / length):
        return None
    begin, end = ((value - levels[0]) / (levels[1] - levels[0]) for value in (level, level + slope))
    return (float(begin), float(end)) if end > begin else None
