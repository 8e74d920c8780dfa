"""Color bars below maps."""

import numpy as np

from camlens.render.canvas import Align, Box, Canvas, text_width
from camlens.render.colormaps import DIVERGING, color_table
from camlens.render.overlays import stripe_gaps
from camlens.render.theme import SMALL

HEIGHT = 24.0
"""The height of a color bar with its labels, in points."""

Marks = tuple[str, str, str]

_BAR = 7.0


def draw_colorbar(canvas: Canvas, box: Box, colormap: str, marks: Marks) -> None:
    """Draw a horizontal color bar at the top of `box`, with labels below.

    `marks` are the labels of the left end, the middle and the right end. The negative part of a diverging color map is
    striped as in the picture, and zero has a tick.
    """
    rows, columns = canvas.pixel_size(Box(0, 0, box.width, _BAR))
    shares = (np.arange(columns) + 0.5) / columns
    colors = color_table(colormap)[np.floor(shares * 255 + 0.5).astype(np.intp)]
    bar = Box(box.left, box.top, box.width, _BAR)
    pixels = np.repeat(colors[None], rows, axis=0)
    if colormap == DIVERGING:
        gaps = stripe_gaps(rows, columns) & (shares < 0.5)
        pixels[gaps] = color_table(colormap)[128]
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
        canvas.write(words, left, bar.bottom + 12, width=width, size=SMALL, color=ink, align=align)
