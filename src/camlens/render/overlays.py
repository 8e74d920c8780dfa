"""Overlay a heat map on its picture, with opacity, threshold and contours.

The signs of a signed map can be told apart in grayscale and on any photograph: positive values are plain, negative
values are striped, and the photograph below is gray.
"""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool

from camlens.core.arguments import check_choice, check_range
from camlens.core.errors import InputError
from camlens.render.colormaps import DEFAULT, DIVERGING, color_table, table_rows
from camlens.render.pictures import Heat, Number, Picture, as_heatmap, as_picture

Mode = Literal["blend", "weighted", "evidence"]
LINE = (255, 255, 255)

STRIPES = 32
"""Number of stripes along the longer side of a picture."""

GAP_OPACITY = 0.6
"""Opacity of the white between stripes, relative to the stripes; visible on dark and light pictures."""


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
    """Blend a heat map over an image, uint8 RGB (H, W, 3).

    Every channel is `floor(pixel * (1 - alpha) + color * alpha + 0.5)` in float64: rounded half up, as in browsers.

    Args:
        image: a picture as for `as_picture`, such as uint8 (H, W, 3).
        heatmap: (H, W) in [0, 1] at the image's size; in [-1, 1] for the color map `diverging`.
        alpha: opacity of the heat map, from 0 (only the image) to 1 (only the heat map).
        colormap: a name in `COLORMAPS`.
        threshold: pixels with a smaller magnitude show only the image.
        contour: one or more levels in (0, 1] that are outlined in white, one pixel wide.
        mode: "blend" has a uniform opacity. "weighted" multiplies it by the magnitude. "evidence" is for signed maps:
            the image is gray, the color is that of the sign, the opacity is `sqrt(alpha * magnitude)`, and negative
            values are striped.

    Raises InputError for different sizes and for values out of range.
    """
    picture = as_picture(image)
    signed = colormap == DIVERGING
    values = as_heatmap(heatmap, signed=signed)
    _check(picture, values, alpha, threshold, mode)
    magnitude = np.abs(values)
    colored = values
    if mode == "evidence":
        picture, colored = grayscale(picture), striped(np.sign(values))
    colors = color_table(colormap)[table_rows(colored, signed=signed)]
    blended = _blended(picture, colors, _opacity(values, alpha, mode))
    if threshold is not None:
        blended = np.where((magnitude < threshold)[:, :, None], picture, blended)
    for level in contour_levels(contour):
        blended[contour_mask(magnitude, level)] = LINE
    return blended


def contour_mask(heatmap: Heat, level: Number) -> Bool[np.ndarray, "_ _"]:
    """Return the pixels at or above `level` that share a side with a pixel below it."""
    inside = heatmap >= level
    framed = np.pad(inside, 1, constant_values=True)  # the border of the picture is no contour
    surrounded = framed[:-2, 1:-1] & framed[2:, 1:-1] & framed[1:-1, :-2] & framed[1:-1, 2:]
    mask: Bool[np.ndarray, "_ _"] = inside & ~surrounded
    return mask


def difference(heatmap_a: object, heatmap_b: object) -> Heat:
    """Return `heatmap_a - heatmap_b`, signed in [-1, 1], for the color map `diverging`.

    Both are (H, W) in [0, 1]. Raises InputError if their sizes differ.
    """
    first, second = as_heatmap(heatmap_a), as_heatmap(heatmap_b)
    if first.shape != second.shape:
        raise InputError(
            f"the heat maps must have the same size, not {first.shape} and {second.shape}",
            code="heatmaps.size",
            sizes=(first.shape, second.shape),
        )
    signed: Heat = first - second
    return signed


def grayscale(picture: Picture) -> Picture:
    """Return the picture in gray, as RGB."""
    luminance = picture @ np.array([0.299, 0.587, 0.114])
    return np.repeat(np.floor(luminance + 0.5).astype(np.uint8)[:, :, None], 3, axis=2)


def stripe_gaps(height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """Return the gaps between diagonal stripes: every other band of `row + column`.

    A band is `max(height, width) // 64` pixels wide, and at least 2.
    """
    band = max(2, max(height, width) // (2 * STRIPES))
    diagonals = np.arange(height)[:, None] + np.arange(width)[None]
    gaps: Bool[np.ndarray, "height width"] = (diagonals // band) % 2 == 1
    return gaps


def opposing_gaps(evidence: Heat) -> Bool[np.ndarray, "_ _"]:
    """Return the negative pixels of a map (H, W) that lie in gaps."""
    gaps: Bool[np.ndarray, "_ _"] = (evidence < 0) & stripe_gaps(*evidence.shape)
    return gaps


def striped(evidence: Heat) -> Heat:
    """Return the map (H, W) with zeros in the gaps of its negative part."""
    drawn: Heat = np.where(opposing_gaps(evidence), 0, evidence)
    return drawn


def _opacity(values: Heat, alpha: Number, mode: Mode) -> Number | Heat:
    if mode == "blend":
        return alpha
    weighted: Heat = alpha * np.abs(values.astype(np.float64))
    if mode == "weighted":
        return weighted
    opacity: Heat = np.sqrt(weighted) * np.where(opposing_gaps(values), GAP_OPACITY, 1)
    return opacity


def _blended(picture: Picture, colors: Picture, opacity: Number | Heat) -> Picture:
    levels = np.arange(256, dtype=np.float64)
    if isinstance(opacity, np.ndarray):
        share = opacity[:, :, None]
        exact = picture * (1 - share) + colors * share
        rounded: Picture = np.floor(exact + 0.5).astype(np.uint8)
        return rounded
    # a uniform opacity has only 256 x 256 results; a lookup avoids a floating copy of the picture
    results = np.floor(levels[:, None] * (1 - opacity) + levels * opacity + 0.5).astype(np.uint8)
    looked_up: Picture = results[picture, colors]
    return looked_up


def contour_levels(contour: Number | Sequence[Number] | None) -> tuple[Number, ...]:
    """Return the levels as a tuple; raise InputError unless all lie in (0, 1]."""
    if contour is None:
        return ()
    levels = tuple(contour) if isinstance(contour, Iterable) else (contour,)
    for level in levels:
        if not isinstance(level, Real) or not 0 < level <= 1:
            raise InputError(
                f"contour levels must be above 0 and at most 1, not {level!r}",
                code="argument.invalid",
                name="contour",
                value=level,
            )
    return levels


def _check(picture: Picture, values: Heat, alpha: Number, threshold: Number | None, mode: str) -> None:
    height, width = picture.shape[:2]
    if values.shape != (height, width):
        raise InputError(
            f"the heat map is {values.shape[0]} x {values.shape[1]} but the image {height} x {width}: "
            f"pass Explanation.heatmaps(size=({height}, {width}))",
            code="heatmap.proportions",
            size=tuple(values.shape),
            image=(height, width),
        )
    check_range("alpha", alpha, 0, 1)
    if threshold is not None:
        check_range("threshold", threshold, 0, 1)
    check_choice("mode", mode, get_args(Mode))
