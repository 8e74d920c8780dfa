"""Labeled figures: a panel of one map, several maps side by side, the difference of two maps.

Every function returns an RGB Pillow image. No global state is changed, so several threads may draw at once.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from camlens.core.errors import InputError
from camlens.core.probabilities import Task
from camlens.render.canvas import Box, Canvas, Drawing
from camlens.render.colorbar import HEIGHT as COLORBAR
from camlens.render.colorbar import Marks, draw_colorbar
from camlens.render.colormaps import DIVERGING
from camlens.render.overlays import difference
from camlens.render.pictures import Heat, as_heatmap, as_map, as_picture
from camlens.render.placing import Region
from camlens.render.predictions import Class, Prediction, draw_predictions, is_class
from camlens.render.theme import Look
from camlens.render.tiles import (
    CAPTION,
    GAP,
    MARGIN,
    Tile,
    draw_header,
    draw_notes,
    draw_tile,
    header_height,
    note_lines,
    notes_height,
    tile_height,
)

PICTURE = 236.0
"""The width of a picture in a panel, in points."""

_ROW_PICTURE = 190.0
_ROW_LENGTH = 6
_COLUMN = 256.0
_ALIKE = 0.95
_EVIDENCE = ("0", "evidence", "1")
_OWN_SCALES = ("each map on its own scale", "own scale each")
_SIGNED_EVIDENCE = ("opposes", "0", "supports")

Bar = tuple[str, Marks]
"""A color map and the labels of its color bar."""


def panel(
    image: object,
    heatmap: object,
    *,
    title: str = "",
    subtitle: str = "",
    predictions: Sequence[Prediction] = (),
    true_class: Class | None = None,
    target: Class | None = None,
    task: Task = "classification",
    notes: Sequence[str] = (),
    region: Region | None = None,
    look: Look | None = None,
) -> Drawing:
    """Draw an image, its heat map with a color bar, the overlay, and the most likely classes.

    Args:
        image: a picture as for `as_picture`.
        heatmap: (H, W) in [0, 1], of any size with the proportions of the image; in [-1, 1] if the color map of the
            look is `diverging`.
        title: such as the file name.
        subtitle: such as the method and the layer.
        predictions: most likely first, as returned by `get_top_predictions`.
        true_class: index or name of the true class, which is marked.
        target: index or name of the explained class.
        task: "regression" if the confidences of `predictions` are outputs, which are drawn as numbers.
        notes: warnings and remarks, drawn below.
        region: the part of the image that the map covers, (left, top, right, bottom) in fractions; by default the
            whole image. The rest is faded.
        look: color map, opacity, theme and scale.
    """
    column_width = (GAP + _COLUMN) if predictions else 0.0
    canvas = Canvas(2 * MARGIN + 3 * PICTURE + 2 * GAP + column_width, look or Look())
    signed = canvas.look.colormap == DIVERGING
    picture, heat = as_picture(image), as_heatmap(heatmap, signed=signed)
    draw_header(canvas, title, subtitle, badge=_verdict(canvas, predictions, true_class))
    top = MARGIN + header_height(title, subtitle) + CAPTION
    height = tile_height([picture], PICTURE)
    boxes = [Box(MARGIN + number * (PICTURE + GAP), top, PICTURE, height) for number in range(3)]
    draw_tile(canvas, Tile("Photograph", picture), boxes[0])
    draw_tile(canvas, Tile("Heat map", picture, heat, blended=False, signed=signed, region=region), boxes[1])
    draw_tile(canvas, Tile("Overlay", picture, heat, signed=signed, region=region), boxes[2])
    bar = Box(boxes[1].left, boxes[1].bottom + 10, PICTURE, COLORBAR)
    draw_colorbar(canvas, bar, canvas.look.colormap, _SIGNED_EVIDENCE if signed else _EVIDENCE)
    if predictions:
        column = Box(boxes[2].right + GAP + 8, top, _COLUMN - 8, height + COLORBAR)
        heading = "Outputs" if task == "regression" else "Predictions"
        canvas.write(heading, column.left, top - 9, width=column.width, bold=True)
        draw_predictions(canvas, column, predictions, true_class=true_class, target=target, task=task)
    lines = note_lines(canvas, notes)
    bottom = bar.bottom + 4
    draw_notes(canvas, lines, bottom + GAP)
    return canvas.picture(bottom + notes_height(lines) + MARGIN - 8)


def map_row(
    image: object,
    heatmaps: Mapping[str, object],
    *,
    details: Mapping[str, str] | None = None,
    title: str = "",
    subtitle: str = "",
    signed: Collection[str] = (),
    region: Region | None = None,
    look: Look | None = None,
) -> Drawing:
    """Draw several maps of one image side by side, labeled with their keys.

    `heatmaps` are non-negative maps (H, W) of any magnitude; each is divided by its maximum. The maps named in `signed`
    may be negative and are drawn with the diverging color map. `details` are shown beside the labels. `region` is as in
    `panel`. More than six pictures are drawn in several rows.
    """
    if not heatmaps:
        raise InputError("heatmaps must not be empty", code="argument.empty", name="heatmaps")
    picture = as_picture(image)
    scaled = _scaled({name: as_map(heat) for name, heat in heatmaps.items()}, signed)
    tiles = [Tile("Photograph", picture)]
    tiles += [
        Tile(name, picture, heat, (details or {}).get(name, ""), signed=name in signed, region=region)
        for name, heat in scaled.items()
    ]
    look = look or Look()
    bars = _bars(tiles[1:], look)
    return _rows(tiles, bars, title, subtitle, look, columns=_columns(len(tiles), _ROW_LENGTH))


def map_grid(
    groups: Sequence[Sequence[Tile]], *, title: str = "", subtitle: str = "", look: Look | None = None
) -> Drawing:
    """Draw the maps of several images in a grid: one group of tiles per image.

    Groups of a single tile are drawn side by side; larger groups start with the photograph.
    """
    if len(groups[0]) > 1:
        groups = [[Tile("Photograph", group[0].picture), *group] for group in groups]
    length, look = len(groups[0]), look or Look()
    columns = _columns(length, _ROW_LENGTH)
    tiles = [tile for group in groups for tile in (*group, *[None] * (-length % columns))]
    beside = _columns(len(groups), max(1, _ROW_LENGTH // length))
    maps = [tile for group in groups for tile in group if tile.heat is not None]
    return _rows(tiles, _bars(maps, look), title, subtitle, look, columns=beside * columns)


def class_difference(
    image: object,
    heatmap_a: object,
    heatmap_b: object,
    *,
    names: tuple[str, str],
    title: str = "",
    subtitle: str = "",
    region: Region | None = None,
    look: Look | None = None,
) -> Drawing:
    """Draw the overlays of two classes and their signed difference.

    The maps are (H, W) in [0, 1]. Their correlation is shown, with a warning if they are nearly the same.
    """
    picture, signed = as_picture(image), difference(heatmap_a, heatmap_b)
    first, second = as_heatmap(heatmap_a), as_heatmap(heatmap_b)
    alike = _correlation(first, second)
    heading = title or f"{names[0]}, not {names[1]}"
    fact = f"correlation of the two maps: {alike:.2f}" if np.isfinite(alike) else "one of the maps is constant"
    subtitle = f"{subtitle}  ·  {fact}" if subtitle else fact
    canvas = Canvas(4 * PICTURE + 3 * GAP + 2 * MARGIN, look or Look())
    draw_header(canvas, heading, subtitle)
    top = MARGIN + header_height(heading, subtitle) + CAPTION
    height = tile_height([picture], PICTURE)
    boxes = [Box(MARGIN + number * (PICTURE + GAP), top, PICTURE, height) for number in range(4)]
    draw_tile(canvas, Tile("Photograph", picture), boxes[0])
    draw_tile(canvas, Tile(names[0], picture, first, region=region), boxes[1])
    draw_tile(canvas, Tile(names[1], picture, second, region=region), boxes[2])
    draw_tile(canvas, Tile("Difference", picture, signed, signed=True, region=region), boxes[3])
    below = boxes[0].bottom + 10
    both = Box(boxes[1].left, below, 2 * PICTURE + GAP, COLORBAR)
    draw_colorbar(canvas, both, canvas.look.colormap, _EVIDENCE)
    marks = (f"more {names[1]}", "same", f"more {names[0]}")
    draw_colorbar(canvas, Box(boxes[3].left, below, PICTURE, COLORBAR), DIVERGING, marks)
    warning = f"The two maps are nearly the same: they hardly distinguish {names[0]} from {names[1]}."
    lines = note_lines(canvas, [warning] if alike > _ALIKE else [])
    bottom = below + COLORBAR + 4
    draw_notes(canvas, lines, bottom + GAP)
    return canvas.picture(bottom + notes_height(lines) + MARGIN - 8)


def _bars(maps: Sequence[Tile], look: Look) -> list[Bar]:
    """Return the color bars for the maps; if there are two, the label of the first is shortened."""
    signed = [tile.signed for tile in maps]
    bars: list[Bar] = []
    if not all(signed):
        bars.append((look.colormap, ("0", _OWN_SCALES[any(signed)], "1")))
    if any(signed):
        bars.append((DIVERGING, _SIGNED_EVIDENCE))
    return bars


def _columns(count: int, most: int) -> int:
    """Return the number of columns, at most `most`, that fills all rows evenly."""
    return -(-count // -(-count // most))


def _rows(
    tiles: Sequence[Tile | None],
    bars: Sequence[Bar],
    title: str,
    subtitle: str,
    look: Look,
    *,
    columns: int,
) -> Drawing:
    """Draw the tiles in rows of `columns` above the color bars."""
    canvas = Canvas(2 * MARGIN + columns * _ROW_PICTURE + (columns - 1) * GAP, look)
    draw_header(canvas, title, subtitle)
    top = MARGIN + header_height(title, subtitle) + CAPTION
    lines = [tiles[start : start + columns] for start in range(0, len(tiles), columns)]
    for line in lines:
        height = tile_height([tile.picture for tile in line if tile is not None], _ROW_PICTURE)
        for column, tile in enumerate(line):
            if tile is not None:
                draw_tile(canvas, tile, Box(MARGIN + column * (_ROW_PICTURE + GAP), top, _ROW_PICTURE, height))
        top += height + GAP + CAPTION
    below = top - GAP - CAPTION + 12
    first = MARGIN + _ROW_PICTURE + GAP if columns > 1 and len(lines) == 1 else MARGIN
    width = min(canvas.width - MARGIN - first, 2 * _ROW_PICTURE + GAP)
    bar_width = (width - GAP * (len(bars) - 1)) / len(bars)
    for number, (colormap, marks) in enumerate(bars):
        draw_colorbar(canvas, Box(first + number * (bar_width + GAP), below, bar_width, COLORBAR), colormap, marks)
    return canvas.picture(below + COLORBAR + MARGIN - 8)


def _scaled(maps: Mapping[str, Heat], signed: Collection[str]) -> dict[str, Heat]:
    """Divide each map by its maximum magnitude."""
    negative = [name for name, heat in maps.items() if heat.min() < 0 and name not in signed]
    if negative:
        raise InputError(
            f"the map {negative[0]!r} has negative values: pass Explanation.heatmaps(), or name it in signed",
            code="heatmaps.negative",
            map=negative[0],
        )
    return {name: heat / (float(np.abs(heat).max()) or 1.0) for name, heat in maps.items()}


def _correlation(first: Heat, second: Heat) -> float:
    """Return the Pearson correlation of two maps, NaN if one of them is constant."""
    left, right = (heat.astype(np.float64) - heat.mean(dtype=np.float64) for heat in (first, second))
    norm = float(np.sqrt((left**2).sum() * (right**2).sum()))
    return float((left * right).sum()) / norm if norm > 0 else float("nan")


def _verdict(canvas: Canvas, predictions: Sequence[Prediction], true_class: Class | None) -> tuple[str, str] | None:
    """Return the text and color of the badge for a correct or incorrect prediction."""
    if not predictions or true_class is None:
        return None
    correct = is_class(predictions[0], true_class)
    return ("correct", canvas.theme.good) if correct else ("incorrect", canvas.theme.bad)
