"""Many images in one figure: a contact sheet, and correct predictions facing incorrect ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from camlens.core.errors import InputError
from camlens.render.canvas import Box, Canvas, Drawing, text_width
from camlens.render.pictures import Number, as_heatmap, as_picture
from camlens.render.theme import HEADING, SMALL, Look
from camlens.render.tiles import GAP, MARGIN, Tile, draw_header, draw_map, header_height, tile_height

_PICTURE = 168.0
_WORDS = 38.0
_FACING_PICTURE = 176.0


@dataclass(frozen=True, eq=False)
class Case:
    """One explained prediction. `heatmap` is (H, W) in [0, 1]; `true_class` is None where nobody knows it."""

    image: object
    heatmap: object
    predicted: str
    confidence: Number
    true_class: str | None = None
    label: str = ""

    @property
    def correct(self) -> bool | None:
        """Whether the prediction is right, None where nobody knows."""
        return None if self.true_class is None else self.predicted == self.true_class

    def tile(self, *, overlaid: bool = True) -> Tile:
        """Its overlay, or the photograph alone."""
        picture = as_picture(self.image)
        return Tile("", picture, as_heatmap(self.heatmap) if overlaid else None)


def contact_sheet(
    cases: Sequence[Case], *, columns: int = 5, title: str = "", subtitle: str = "", look: Look | None = None
) -> Drawing:
    """Many overlays in a grid, each with its predicted class, confidence and, where wrong, the true class."""
    if not cases or columns < 1:
        raise InputError(
            f"a contact sheet needs at least one case and one column, not {len(cases)} and {columns}",
            code="argument.empty",
            name="cases",
        )
    columns = min(columns, len(cases))
    canvas = Canvas(2 * MARGIN + columns * _PICTURE + (columns - 1) * GAP, look or Look())
    draw_header(canvas, title, subtitle)
    tiles = [case.tile() for case in cases]
    height = tile_height([tile.picture for tile in tiles], _PICTURE)
    top = MARGIN + header_height(title, subtitle)
    for number, (case, tile) in enumerate(zip(cases, tiles, strict=True)):
        line, column = divmod(number, columns)
        left = MARGIN + column * (_PICTURE + GAP)
        box = Box(left, top + line * (height + _WORDS + GAP), _PICTURE, height)
        draw_map(canvas, tile, box)
        _write_case(canvas, case, Box(left, box.bottom, _PICTURE, _WORDS))
    lines = -(-len(cases) // columns)
    return canvas.picture(top + lines * (height + _WORDS + GAP) - GAP + MARGIN - 4)


def correct_against_incorrect(
    pairs: Sequence[tuple[Case | None, Case | None]],
    *,
    title: str = "",
    subtitle: str = "",
    look: Look | None = None,
) -> Drawing:
    """Correct predictions facing incorrect ones: photograph, overlay and what was said.

    Each pair is one line; None leaves a side empty where there are more of the other.
    """
    if not pairs:
        raise InputError(
            "there is no pair to draw: give at least one (correct, incorrect)", code="argument.empty", name="pairs"
        )
    side = 2 * _FACING_PICTURE + 8
    canvas = Canvas(2 * MARGIN + 2 * side + 2 * GAP, look or Look())
    draw_header(canvas, title, subtitle)
    lefts = (MARGIN, MARGIN + side + 2 * GAP)
    top = MARGIN + header_height(title, subtitle)
    heads = (("Correct", canvas.theme.good), ("Incorrect", canvas.theme.bad))
    for left, (words, colour) in zip(lefts, heads, strict=True):
        canvas.write(words, left, top + 12, width=side, size=HEADING, bold=True, colour=colour)
        canvas.fill(Box(left, top + 20, side, 2), colour, rounding=1)
    top += 34
    for pair in pairs:
        pictures = [as_picture(case.image) for case in pair if case is not None]
        height = tile_height(pictures, _FACING_PICTURE) if pictures else 0.0
        for left, case in zip(lefts, pair, strict=True):
            if case is not None:
                _draw_facing(canvas, case, Box(left, top, side, height))
        top += height + _WORDS + GAP
    return canvas.picture(top - GAP + MARGIN - 4)


def _draw_facing(canvas: Canvas, case: Case, box: Box) -> None:
    """The photograph, its overlay beside it, the words below."""
    draw_map(canvas, case.tile(overlaid=False), Box(box.left, box.top, _FACING_PICTURE, box.height))
    right = Box(box.right - _FACING_PICTURE, box.top, _FACING_PICTURE, box.height)
    draw_map(canvas, case.tile(), right)
    _write_case(canvas, case, Box(box.left, box.bottom, box.width, _WORDS))


def _write_case(canvas: Canvas, case: Case, box: Box) -> None:
    """Predicted class with a mark and the confidence; below, the true class if it differs, or the label."""
    theme = canvas.theme
    mark, ink = {True: ("✓ ", theme.good), False: ("✗ ", theme.bad), None: ("", theme.text)}[case.correct]
    percent = f"{100 * case.confidence:.0f} %"
    number_width = text_width(percent) + 6
    mark_width = text_width(mark, bold=True) if mark else 0.0
    baseline = box.top + 17
    if mark:
        canvas.write(mark, box.left, baseline, width=mark_width + 1, bold=True, colour=ink)
    canvas.write(
        case.predicted,
        box.left + mark_width,
        baseline,
        width=box.width - number_width - mark_width,
        bold=True,
    )
    canvas.write(percent, box.left, baseline, width=box.width, colour=theme.muted, align="right")
    below = f"true: {case.true_class}" if case.correct is False else case.label
    if below:
        colour = theme.bad if case.correct is False else theme.muted
        canvas.write(below, box.left, baseline + 15, width=box.width, size=SMALL + 0.5, colour=colour)
