"""The region of the original picture that a model's input shows."""

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

_RAMPS = ((0, 255), (208, 48))  # the second one is reversed and has another contrast
_LEVELS = 1.5  # allowed deviation of a measured ramp from a straight line, in 8-bit levels
_APART = 0.005  # allowed difference between the regions measured by two ramps, as a share of the picture


@final
@dataclass(frozen=True)
class Geometry:
    """The position of a model's input in the original picture.

    Attributes:
        picture: (height, width) of the original in pixels.
        region: (left, top, right, bottom) of the input, in pixels of the original; not rounded. It extends beyond
            the picture if the preprocessing pads.
        size: (height, width) of the input.
    """

    picture: tuple[int, int]
    region: Region
    size: tuple[int, int]

    @property
    def fractions(self) -> Region:
        """The region in fractions of the picture's width and height."""
        height, width = self.picture
        left, top, right, bottom = self.region
        return left / width, top / height, right / width, bottom / height

    @property
    def sees_everything(self) -> bool:
        """Whether no part of the picture is cropped away."""
        left, top, right, bottom = self.fractions
        return left <= 0 and top <= 0 and right >= 1 and bottom >= 1


@final
@dataclass(frozen=True, eq=False)
class View:
    """A picture and the part of it that a model saw.

    Attributes:
        name: the file name, or "".
        picture: the original, upright, uint8 (H, W, 3).
        crop: what the model saw, uint8 (h, w, 3).
        geometry: the position of the crop in the picture, or None if it is unknown.
    """

    name: str
    picture: Picture
    crop: Picture
    geometry: Geometry | None

    def shown(self, *, crop: bool = False) -> tuple[Picture, Region]:
        """Return the picture to draw on and the region of it that the model saw, in fractions.

        With `crop`, or if the geometry is unknown, the picture is what the model saw.
        """
        return (self.crop, WHOLE) if crop or self.geometry is None else (self.picture, self.geometry.fractions)

    def to_dict(self) -> dict[str, object]:
        """Return the name, the picture's (height, width), and the region that the model saw in pixels, or null."""
        region = None if self.geometry is None else list(self.geometry.region)
        return {"name": self.name, "picture_size": list(self.picture.shape[:2]), "region": region}


@lru_cache(maxsize=64)
def measured_geometry(display: Callable[[Picture], Picture], height: int, width: int) -> Geometry | None:
    """Measure the geometry of a preprocessing by its effect on ramps; return None if that fails.

    `display` is called on pictures whose gray levels are coordinates, and a straight line is fitted to the levels of
    the result, which gives the region to a fraction of a pixel. Each axis is measured with two pictures. They disagree
    if the preprocessing is random, changes the contrast, mirrors or distorts; then None is returned.
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
    """Return a gray picture that runs from one level to the other along an axis."""
    shares = (np.arange(size[axis]) + 0.5) / size[axis]
    line = np.round(levels[0] + (levels[1] - levels[0]) * shares).astype(np.uint8)
    column = line[:, None, None] if axis == 0 else line[None, :, None]
    return np.ascontiguousarray(np.broadcast_to(column, (*size, 3)))


def _ends(seen: NDArray[np.float64], axis: int, levels: tuple[int, int], length: int) -> tuple[float, float] | None:
    """Return where the input begins and ends along one axis, in fractions of the picture's length."""
    line = (seen[:, seen.shape[1] // 2] if axis == 0 else seen[seen.shape[0] // 2]).mean(axis=1)
    places = (np.arange(len(line)) + 0.5) / len(line)
    # the ends of a ramp are distorted by padding and by the resampling filter
    inside = (line > min(levels) + 4) & (line < max(levels) - 4)
    if inside.sum() < 3:
        return None
    slope, level = np.polyfit(places[inside], line[inside], 1)
    if np.abs(level + slope * places[inside] - line[inside]).max() > max(_LEVELS, 256 / length):
        return None
    begin, end = ((value - levels[0]) / (levels[1] - levels[0]) for value in (level, level + slope))
    return (float(begin), float(end)) if end > begin else None
