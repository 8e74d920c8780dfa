"""The scale below a map: which colour stands for which value."""

import numpy as np

from camlens.render.canvas import Align, Box, Canvas, text_width
from camlens.render.colormaps import DIVERGING, colour_table
from camlens.render.overlays import stripe_gaps
from camlens.render.theme import SMALL

HEIGHT = 24.0
"""The room a colour bar takes, with its words, in points."""

Marks = tuple[str, str, str]

_BAR = 7.0


def draw_colorbar(canvas: Canvas, box: Box, colormap: str, marks: Marks) -> None:
    """A horizontal bar in the colours of `colormap`, at the top of `box`, with words below it.

    `marks` are the words at its left end, in its middle and at its right end. The side of a diverging colour
    map that opposes is striped as it is in the picture, and a tick stands at zero.
    """
    rows, columns = canvas.pixel_size(Box(0, 0, box.width, _BAR))
    shares = (np.arange(columns) + 0.5) / columns
    colours = colour_table(colormap)[np.floor(shares * 255 + 0.5).astype(np.intp)]
    bar = Box(box.left, box.top, box.width, _BAR)
    pixels = np.repeat(colours[None], rows, axis=0)
    if colormap == DIVERGING:
        gaps = stripe_gaps(rows, columns) & (shares < 0.5)
        pixels[gaps] = colour_table(colormap)[128]
    canvas.show(pixels, bar, rounding=_BAR / 2)
    if colormap == DIVERGING:
        canvas.fill(Box(bar.left + bar.width / 2 - 0.5, bar.top - 1.5, 1, _BAR + 3), canvas.theme.text)
    middle = min(text_width(marks[1], SMALL) + 1, box.width / 2)
    side = (box.width - middle) / 2 - 8
    places: tuple[tuple[float, float, Align], ...] = (
        (box.left, side, "left"),
        (box.left + side + 8, middle, "center"),
        (box.right - side, side, "right"),
    )
    for words, (left, width, align) in zip(marks, places, strict=True):
        ink = canvas.theme.muted
        canvas.write(words, left, bar.bottom + 12, width=width, size=SMALL, colour=ink, align=align)
