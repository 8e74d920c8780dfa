"""A heat map laid over its picture: blended, cut off at a threshold, outlined at levels."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool

from camlens.core.errors import InputError
from camlens.render.colormaps import DEFAULT, DIVERGING, colour_table, table_rows
from camlens.render.pictures import Heat, Number, Picture, as_heatmap, as_picture

__all__ = ["Mode", "as_picture", "contour_levels", "contour_mask", "difference", "overlay"]

Mode = Literal["blend", "weighted"]
LINE = (255, 255, 255)


def overlay(
    image: object,
    heatmap: object,
    *,
    alpha: Number = 0.5,
    colormap: str = DEFAULT,
    threshold: Number | None = None,
    contour: Number | Sequence[Number] | None = None,
    mode: Mode = "blend",
) -> Picture:
    """The image under its heat map, uint8 RGB (H, W, 3).

    Every channel becomes `floor(pixel * (1 - alpha) + colour * alpha + 0.5)`, computed in float64: rounded
    half up to 8 bits, as browsers do.

    Args:
        image: what `as_picture` takes, for example uint8 (H, W, 3).
        heatmap: (H, W) in [0, 1] at the image's size; in [-1, 1] for the colour map `diverging`.
        alpha: opacity of the heat map from 0 (the image alone) to 1 (the heat map alone).
        colormap: a name in `COLORMAPS`.
        threshold: pixels whose magnitude lies below it stay as they are in the image.
        contour: one or several levels in (0, 1] whose outlines are drawn as white lines, one pixel wide.
        mode: "blend" has the same opacity everywhere; "weighted" multiplies it by the magnitude, so that the
            image stays clear where the map says nothing.

    Raises InputError for sizes that differ and for values out of range.
    """
    picture = as_picture(image)
    signed = colormap == DIVERGING
    values = as_heatmap(heatmap, signed=signed)
    _check(picture, values, alpha, threshold, mode)
    magnitude = np.abs(values)
    colours = colour_table(colormap)[table_rows(values, signed=signed)]
    blended = _blended(picture, colours, alpha if mode == "blend" else alpha * magnitude.astype(np.float64))
    if threshold is not None:
        blended = np.where((magnitude < threshold)[:, :, None], picture, blended)
    for level in contour_levels(contour):
        blended[contour_mask(magnitude, level)] = LINE
    return blended


def contour_mask(heatmap: Heat, level: Number) -> Bool[np.ndarray, "_ _"]:
    """True on pixels at or above `level` that touch, along a side, a pixel below it."""
    inside = heatmap >= level
    framed = np.pad(inside, 1, constant_values=True)  # the picture's border is no outline
    surrounded = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    mask: Bool[np.ndarray, "_ _"] = inside & ~surrounded
    return mask


def difference(heatmap_a: object, heatmap_b: object) -> Heat:
    """`heatmap_a - heatmap_b`, signed in [-1, 1]: positive where the first is hotter.

    `colorize` draws it with the colour map `diverging`. Both are (H, W) in [0, 1] and of one size, else
    InputError.
    """
    first, second = as_heatmap(heatmap_a), as_heatmap(heatmap_b)
    if first.shape != second.shape:
        raise InputError(f"the heat maps must be of one size, not {first.shape} and {second.shape}")
    signed: Heat = first - second
    return signed


def _blended(picture: Picture, colours: Picture, opacity: Number | Heat) -> Picture:
    levels = np.arange(256, dtype=np.float64)
    if isinstance(opacity, np.ndarray):
        share = opacity[:, :, None]
        exact = picture * (1 - share) + colours * share
        rounded: Picture = np.floor(exact + 0.5).astype(np.uint8)
        return rounded
    # one opacity: only 256 x 256 answers exist, and looking them up needs no floating copy of the picture
    answers = np.floor(levels[:, None] * (1 - opacity) + levels * opacity + 0.5).astype(np.uint8)
    looked_up: Picture = answers[picture, colours]
    return looked_up


def contour_levels(contour: Number | Sequence[Number] | None) -> tuple[Number, ...]:
    """The levels asked for as a tuple; InputError where one lies outside of (0, 1]."""
    if contour is None:
        return ()
    levels = (contour,) if isinstance(contour, int | float) else tuple(contour)
    wrong = [level for level in levels if not 0 < level <= 1]
    if wrong:
        raise InputError(f"a contour level must lie above 0 and at most at 1, not at {wrong[0]}")
    return levels


def _check(picture: Picture, values: Heat, alpha: Number, threshold: Number | None, mode: str) -> None:
    height, width = picture.shape[:2]
    if values.shape != (height, width):
        raise InputError(
            f"the heat map is {values.shape[0]} x {values.shape[1]} but the image {height} x {width}: "
            f"ask for Explanation.heatmaps(size=({height}, {width}))"
        )
    if not 0 <= alpha <= 1:
        raise InputError(f"alpha is the opacity of the heat map and must lie in [0, 1], not {alpha}")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"threshold must lie in [0, 1], not {threshold}; None draws the whole map")
    if mode not in get_args(Mode):
        raise InputError(f"there is no overlay mode {mode!r}; choose one of {', '.join(get_args(Mode))}")
