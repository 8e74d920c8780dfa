"""A heat map laid over its picture: blended, cut off at a threshold, outlined at levels.

Signed evidence is drawn so that both signs can be told apart, also in greyscale and on any photograph: what
supports is a plain colour, what opposes is striped, and the photograph below has no colours of its own.
"""

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool

from camlens.core.errors import InputError
from camlens.render.colormaps import DEFAULT, DIVERGING, colour_table, table_rows
from camlens.render.pictures import Heat, Number, Picture, as_heatmap, as_picture

__all__ = ["Mode", "as_picture", "contour_levels", "contour_mask", "difference", "overlay"]

Mode = Literal["blend", "weighted", "evidence"]
LINE = (255, 255, 255)

STRIPES = 32
"""Stripes along the longer side of a picture."""

GAP_OPACITY = 0.6
"""How opaque the white between two stripes is, as a share of theirs: dark, middling and light pictures all show it."""


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
            image stays clear where the map says nothing; "evidence" is for signed maps: the image loses its
            colours, the colour map's two ends say the sign and the opacity, `sqrt(alpha * magnitude)`, how much;
            what is negative is drawn in stripes with white between them.

    Raises InputError for sizes that differ and for values out of range.
    """
    picture = as_picture(image)
    signed = colormap == DIVERGING
    values = as_heatmap(heatmap, signed=signed)
    _check(picture, values, alpha, threshold, mode)
    magnitude = np.abs(values)
    coloured = values
    if mode == "evidence":
        picture, coloured = without_colours(picture), striped(np.sign(values))
    colours = colour_table(colormap)[table_rows(coloured, signed=signed)]
    blended = _blended(picture, colours, _opacity(values, alpha, mode))
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
        raise InputError(
            f"the heat maps must be of one size, not {first.shape} and {second.shape}",
            code="heatmaps.size",
            sizes=(first.shape, second.shape),
        )
    signed: Heat = first - second
    return signed


def without_colours(picture: Picture) -> Picture:
    """The picture in greys, so that none of its colours is taken for a map's."""
    luminance = picture @ np.array([0.299, 0.587, 0.114])
    return np.repeat(np.floor(luminance + 0.5).astype(np.uint8)[:, :, None], 3, axis=2)


def stripe_gaps(height: int, width: int) -> Bool[np.ndarray, "height width"]:
    """True on the gaps between diagonal stripes: every other band of pixels with `row + column` in one range.

    A band is `max(height, width) // 64` wide, at least 2 pixels.
    """
    band = max(2, max(height, width) // (2 * STRIPES))
    diagonals = np.arange(height)[:, None] + np.arange(width)[None]
    gaps: Bool[np.ndarray, "height width"] = (diagonals // band) % 2 == 1
    return gaps


def opposing_gaps(evidence: Heat) -> Bool[np.ndarray, "_ _"]:
    """True where a map (H, W) is negative and lies in a gap."""
    gaps: Bool[np.ndarray, "_ _"] = (evidence < 0) & stripe_gaps(*evidence.shape)
    return gaps


def striped(evidence: Heat) -> Heat:
    """The map (H, W) with zeros in the gaps of its negative side."""
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
    levels = tuple(contour) if isinstance(contour, Iterable) else (contour,)
    for level in levels:
        _check_number("a contour level", level)
    wrong = [level for level in levels if not 0 < level <= 1]
    if wrong:
        raise InputError(
            f"a contour level must lie above 0 and at most at 1, not at {wrong[0]}",
            code="argument.invalid",
            name="contour",
            value=wrong[0],
        )
    return levels


def _check(picture: Picture, values: Heat, alpha: Number, threshold: Number | None, mode: str) -> None:
    height, width = picture.shape[:2]
    if values.shape != (height, width):
        raise InputError(
            f"the heat map is {values.shape[0]} x {values.shape[1]} but the image {height} x {width}: "
            f"ask for Explanation.heatmaps(size=({height}, {width}))",
            code="heatmap.proportions",
            size=tuple(values.shape),
            image=(height, width),
        )
    _check_number("alpha is the opacity of the heat map and", alpha)
    if not 0 <= alpha <= 1:
        raise InputError(
            f"alpha is the opacity of the heat map and must lie in [0, 1], not {alpha!r}",
            code="argument.invalid",
            name="alpha",
            value=alpha,
        )
    if threshold is not None:
        _check_number("threshold", threshold)
        if not 0 <= threshold <= 1:
            raise InputError(
                f"threshold must lie in [0, 1], not {threshold}; None draws the whole map",
                code="argument.invalid",
                name="threshold",
                value=threshold,
            )
    if mode not in get_args(Mode):
        raise InputError(
            f"there is no overlay mode {mode!r}; choose one of {', '.join(get_args(Mode))}",
            code="argument.invalid",
            name="mode",
            value=mode,
        )


def _check_number(what: str, value: object) -> None:
    if not isinstance(value, Real):
        raise InputError(f"{what} must be a number, not {value!r}", code="argument.invalid", name=what, value=value)
