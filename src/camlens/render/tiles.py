"""Parts of figures: headers, pictures with captions, notes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from camlens.core.errors import InputError
from camlens.render.canvas import Box, Canvas, Points, fitted_box, text_width
from camlens.render.colormaps import colorize
from camlens.render.overlays import contour_levels, overlay, striped
from camlens.render.pictures import Heat, Picture, resized_picture
from camlens.render.placing import WHOLE, Region, coverage, marked_unseen, placed
from camlens.render.theme import HEADING, LABEL, SMALL, TITLE

MARGIN, GAP = 32.0, 20.0
CAPTION = 22.0
NOTE_LINE = 16.0


@dataclass(frozen=True)
class Tile:
    """A picture in a figure: a photograph, a heat map, or an overlay.

    `signed` maps lie in [-1, 1] and are always drawn with the diverging color map. `region` is the part of the picture
    that the map covers, in fractions; None is the whole picture, whose proportions the map must have.
    """

    caption: str
    picture: Picture
    heat: Heat | None = None
    detail: str = ""
    blended: bool = True
    signed: bool = False
    region: Region | None = None


def header_height(title: str, subtitle: str) -> float:
    """Return the height of a header, in points."""
    return (26.0 if title else 0.0) + (18.0 if subtitle else 0.0) + (18.0 if title or subtitle else 0.0)


def draw_header(canvas: Canvas, title: str, subtitle: str, *, badge: tuple[str, str] | None = None) -> None:
    """Draw title and subtitle at the top left and `badge`, text and color, at the top right."""
    room = canvas.width - 2 * MARGIN
    if badge:
        words, color = badge
        width = text_width(words, LABEL, bold=True) + 24
        pill = Box(canvas.width - MARGIN - width, MARGIN - 1, width, 22)
        canvas.fill(pill, color, rounding=11)
        ink = canvas.theme.background
        canvas.write(words, pill.left, pill.top + 15, width=width, bold=True, color=ink, align="center")
        room -= width + GAP
    baseline = MARGIN + 15
    if title:
        canvas.write(title, MARGIN, baseline, width=room, size=TITLE, bold=True)
        baseline += 21
    if subtitle:
        canvas.write(subtitle, MARGIN, baseline, width=room, size=HEADING, color=canvas.theme.muted)


def tile_height(pictures: Sequence[Picture], width: Points) -> float:
    """Return the height of a row of pictures: that of the tallest, limited to 0.6 to 1.5 times the width."""
    tallest = max(float(picture.shape[0] / picture.shape[1]) for picture in pictures)
    return min(max(tallest, 0.6), 1.5) * width


def draw_tile(canvas: Canvas, tile: Tile, box: Box) -> None:
    """Draw the picture in `box`, the caption above it, and the detail at the right end of the caption."""
    detail_width = text_width(tile.detail, SMALL) if tile.detail else 0.0
    detail_width = min(detail_width, box.width / 2)
    canvas.write(tile.caption, box.left, box.top - 9, width=box.width - detail_width - 8, bold=True)
    if tile.detail:
        canvas.write(
            tile.detail,
            box.right - detail_width,
            box.top - 9,
            width=detail_width + 1,
            size=SMALL,
            color=canvas.theme.muted,
            align="right",
        )
    draw_map(canvas, tile, box)


def draw_map(canvas: Canvas, tile: Tile, box: Box) -> None:
    """Draw the picture of a tile as large as it fits into `box`."""
    spot = fitted_box(tile.picture.shape, box)
    if spot.width < box.width - 1 or spot.height < box.height - 1:
        canvas.fill(box, canvas.theme.surface, rounding=3)
    size = canvas.pixel_size(spot)
    look = canvas.look
    pixels = resized_picture(tile.picture, size)
    if tile.heat is None:
        canvas.show(pixels, spot)
        return
    if tile.region is None:
        _check_proportions(tile.heat, tile.picture)
    region = tile.region or WHOLE
    heat = placed(tile.heat, size, region)
    look = look.for_evidence() if tile.signed else look
    if tile.blended:
        drawn = overlay(
            pixels, heat, alpha=look.alpha, colormap=look.colormap, threshold=look.threshold, mode=look.mode
        )
    else:
        drawn = colorize(striped(heat) if tile.signed else heat, look.colormap)
    canvas.show(marked_unseen(drawn, pixels, region), spot)
    if tile.blended:
        canvas.outline(np.where(coverage(size, region) > 0, abs(heat), np.nan), spot, contour_levels(look.contour))


def _check_proportions(heat: Heat, picture: Picture) -> None:
    """Raise InputError if a map has other proportions than its picture; coarse grids may be off by one cell."""
    (rows, columns), (height, width) = heat.shape, picture.shape[:2]
    if abs(rows - columns * height / width) > max(1.0, 0.05 * rows):
        raise InputError(
            f"the heat map is {rows} x {columns} but the image {height} x {width}, with other proportions: pass the"
            " image cropped like the model's input",
            code="heatmap.proportions",
            size=(rows, columns),
            image=(height, width),
        )


def note_lines(canvas: Canvas, notes: Sequence[str]) -> list[tuple[str, str]]:
    """Wrap the notes to lines of (sign, text); only the first line of a note has a sign."""
    room = canvas.width - 2 * MARGIN - 52
    lines: list[tuple[str, str]] = []
    for note in notes:
        first, *more = canvas.wrapped(note, room) or [""]
        lines += [("⚠", first), *(("", line) for line in more)]
    return lines


def notes_height(lines: Sequence[tuple[str, str]]) -> float:
    """Return the height of the notes, in points."""
    return GAP + 18 + NOTE_LINE * len(lines) if lines else 0.0


def draw_notes(canvas: Canvas, lines: Sequence[tuple[str, str]], top: Points) -> None:
    """Draw the notes in a box over the whole width."""
    if not lines:
        return
    box = Box(MARGIN, top, canvas.width - 2 * MARGIN, 18 + NOTE_LINE * len(lines))
    canvas.fill(box, canvas.theme.note_surface, rounding=5)
    ink = canvas.theme.note_text
    for number, (sign, words) in enumerate(lines):
        baseline = box.top + 20.5 + NOTE_LINE * number
        canvas.write(sign, box.left + 14, baseline, width=18, color=ink)
        canvas.write(words, box.left + 34, baseline, width=box.width - 48, color=ink)
