"""Place a heat map on the region of a picture that the model saw, and fade the rest."""

import operator
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from camlens.core.errors import InputError
from camlens.render.pictures import Heat, Picture, resized_picture

Region = tuple[float, float, float, float]
"""(left, top, right, bottom) in fractions of a picture; it may extend beyond it."""

WHOLE: Region = (0.0, 0.0, 1.0, 1.0)

_FADED = 0.62  # share of gray in pixels that the model did not see
_GRAY = 150
_EDGE = 300  # longer side of a picture over the width of the frame


def placed(heat: Heat, size: tuple[int, int], region: Region = WHOLE) -> Heat:
    """Interpolate the map (h, w) over the region of a picture of this size (height, width), bilinearly.

    Outside the region the nearest cell is repeated; `marked_unseen` covers it.
    """
    left, top, right, bottom = region
    down = _interpolation(heat.shape[0], size[0], top, bottom)
    across = _interpolation(heat.shape[1], size[1], left, right)
    drawn: Heat = (down @ heat.astype(np.float64) @ across.T).clip(-1, 1).astype(np.float32)
    return drawn


def coverage(size: tuple[int, int], region: Region) -> NDArray[np.float64]:
    """Return the share of each pixel of a picture (height, width) that lies in the region, from 0 to 1."""
    left, top, right, bottom = region
    return _covered(size[0], top, bottom)[:, None] * _covered(size[1], left, right)[None]


def marked_unseen(drawn: Picture, picture: Picture, region: Region) -> Picture:
    """Return `drawn` inside the region and the faded gray picture outside, with a frame between."""
    seen = coverage(picture.shape[:2], region)
    if seen.min() == 1:
        return drawn
    gray = picture @ np.array([0.299, 0.587, 0.114])
    faded = gray * (1 - _FADED) + _GRAY * _FADED
    faded[_frame(picture.shape[:2], region)] = 255
    shares = seen[:, :, None]
    blended: Picture = np.floor(drawn * shares + faded[:, :, None] * (1 - shares) + 0.5).astype(np.uint8)
    return blended


def check_proportions(picture: Sequence[int], expected: Sequence[int], image: int) -> None:
    """Raise InputError unless a picture (height, width) has the proportions of the model's input, up to one pixel."""
    (height, width), (rows, columns) = picture[:2], expected
    if min(abs(rows - height * columns / width), abs(columns - width * rows / height)) >= 1:
        raise InputError(
            f"image {image} is {height} x {width}, but the model's input {rows} x {columns}: the heat map would be"
            " stretched. Pass the images as the model saw them, such as loaded.preprocess.display(image), or use"
            " explain(load_model(...), pictures), whose overlay() draws on the originals",
            code="images.proportions",
            image=image,
            picture=(height, width),
            input=(rows, columns),
        )


def sized(picture: Picture, size: int | Sequence[int] | None) -> Picture:
    """Resize the picture to `size`: its longer side, or (height, width) with the same proportions up to one pixel."""
    if size is None:
        return picture
    height, width = picture.shape[:2]
    try:
        if not isinstance(size, Sequence):
            longest = operator.index(size)
            share = longest / max(height, width)
            size = (max(round(height * share), min(longest, 1)), max(round(width * share), min(longest, 1)))
        rows, columns = (operator.index(length) for length in size)
    except (TypeError, ValueError):
        rows, columns = 0, 0
    if rows < 1 or columns < 1:
        raise InputError(f"size must be the longer side in pixels or (height, width), not {size}", code="size.invalid")
    if min(abs(rows - height * columns / width), abs(columns - width * rows / height)) >= 1:
        raise InputError(
            f"size {rows} x {columns} would stretch a picture of {height} x {width}: pass size={max(rows, columns)},"
            " the longer side",
            code="size.proportions",
            size=(rows, columns),
            picture=(height, width),
        )
    return resized_picture(picture, (rows, columns))


def _interpolation(cells: int, length: int, start: float, stop: float) -> NDArray[np.float64]:
    """Return bilinear weights (length, cells) for cells between two fractions of an axis."""
    centers = (np.arange(length) + 0.5) / length
    at = ((centers - start) / (stop - start) * cells - 0.5).clip(0, cells - 1)
    lower = np.minimum(at.astype(int), max(cells - 2, 0))
    weights = np.zeros((length, cells))
    rows = np.arange(length)
    weights[rows, lower] = 1 - (at - lower)
    weights[rows, np.minimum(lower + 1, cells - 1)] += at - lower
    return weights


def _covered(length: int, start: float, stop: float) -> NDArray[np.float64]:
    edges = np.arange(length + 1)
    begin, end = np.maximum(edges[:-1], start * length), np.minimum(edges[1:], stop * length)
    return (end - begin).clip(0, 1)


def _frame(size: tuple[int, int], region: Region) -> NDArray[np.bool_]:
    """Return the pixels of a frame around the region."""
    height, width = size
    thickness = max(1, round(max(size) / _EDGE))
    left, top, right, bottom = (
        round(share * length) for share, length in zip(region, (width, height, width, height), strict=True)
    )
    frame = np.zeros(size, np.bool_)
    frame[
        max(top - thickness, 0) : max(bottom + thickness, 0), max(left - thickness, 0) : max(right + thickness, 0)
    ] = True
    frame[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)] = False
    return frame
