"""The parts that figures are made of: a header, a picture with its caption, a note."""

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
    """A picture of a figure: the photograph alone, its heat map alone, or one over the other.

    `signed` says that the map lies in [-1, 1] and is drawn as evidence for and against, whatever the look is.
    `region` is the part of the picture that the map covers, in fractions; None is all of it, and then the map
    must have the picture's proportions.
    """

    caption: str
    picture: Picture
    heat: Heat | None = None
    detail: str = ""
    blended: bool = True
    signed: bool = False
    region: Region | None = None


def header_height(title: str, subtitle: str) -> float:
    """The room a header takes, in points."""
    return (26.0 if title else 0.0) + (18.0 if subtitle else 0.0) + (18.0 if title or subtitle else 0.0)


def draw_header(canvas: Canvas, title: str, subtitle: str, *, badge: tuple[str, str] | None = None) -> None:
    """Title and subtitle at the top left; `badge`, words and colour, at the top right."""
    room = canvas.width - 2 * MARGIN
    if badge:
        words, colour = badge
        width = text_width(words, LABEL, bold=True) + 24
        pill = Box(canvas.width - MARGIN - width, MARGIN - 1, width, 22)
        canvas.fill(pill, colour, rounding=11)
        ink = canvas.theme.background
        canvas.write(words, pill.left, pill.top + 15, width=width, bold=True, colour=ink, align="center")
        room -= width + GAP
    baseline = MARGIN + 15
    if title:
        canvas.write(title, MARGIN, baseline, width=room, size=TITLE, bold=True)
        baseline += 21
    if subtitle:
        canvas.write(subtitle, MARGIN, baseline, width=room, size=HEADING, colour=canvas.theme.muted)


def tile_height(pictures: Sequence[Picture], width: Points) -> float:
    """How high a row of pictures is: as the highest asks for, within 0.6 and 1.5 times its width."""
    tallest = max(float(picture.shape[0] / picture.shape[1]) for picture in pictures)
    return min(max(tallest, 0.6), 1.5) * width


def draw_tile(canvas: Canvas, tile: Tile, box: Box) -> None:
    """The caption above, the picture in `box`, the detail at the right end of the caption."""
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
            colour=canvas.theme.muted,
            align="right",
        )
    draw_map(canvas, tile, box)


def draw_map(canvas: Canvas, tile: Tile, box: Box) -> None:
    """The picture of a tile, as large as it fits into `box`, blended at the size it is shown at."""
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
    """Refuse a map of another shape than its picture; a coarse grid may be off by one cell."""
    (rows, columns), (height, width) = heat.shape, picture.shape[:2]
    if abs(rows - columns * height / width) > max(1.0, 0.05 * rows):
        raise InputError(
            f"the heat map is {rows} x {columns}, not of the proportions of the image, {height} x {width}: "
            "give the image that the model saw, cropped as the model's input is",
            code="heatmap.proportions",
            size=(rows, columns),
            image=(height, width),
        )


def note_lines(canvas: Canvas, notes: Sequence[str]) -> list[tuple[str, str]]:
    """The notes as (sign, words) in lines that fit the sheet; only a line that begins a note has a sign."""
    room = canvas.width - 2 * MARGIN - 52
    lines: list[tuple[str, str]] = []
    for note in notes:
        first, *more = canvas.wrapped(note, room) or [""]
        lines += [("⚠", first), *(("", line) for line in more)]
    return lines


def notes_height(lines: Sequence[tuple[str, str]]) -> float:
    """The room that notes take, in points."""
    return GAP + 18 + NOTE_LINE * len(lines) if lines else 0.0


def draw_notes(canvas: Canvas, lines: Sequence[tuple[str, str]], top: Points) -> None:
    """Notes in a box of their own, over the whole width."""
    if not lines:
        return
    box = Box(MARGIN, top, canvas.width - 2 * MARGIN, 18 + NOTE_LINE * len(lines))
    canvas.fill(box, canvas.theme.note_surface, rounding=5)
    ink = canvas.theme.note_text
    for number, (sign, words) in enumerate(lines):
        baseline = box.top + 20.5 + NOTE_LINE * number
        canvas.write(sign, box.left + 14, baseline, width=18, colour=ink)
        canvas.write(words, box.left + 34, baseline, width=box.width - 48, colour=ink)
