"""A canvas for text, bars and pictures, in points from its top left corner."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from camlens.core.errors import MissingExtraError
from camlens.render.pictures import Heat, Picture
from camlens.render.theme import LABEL, Look

try:
    from matplotlib.artist import Artist
    from matplotlib.backend_bases import RendererBase
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.colors import to_rgb
    from matplotlib.figure import Figure
    from matplotlib.font_manager import FontProperties, findfont
    from matplotlib.ft2font import FT2Font
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path
    from matplotlib.textpath import text_to_path
    from PIL import Image
except ImportError as error:
    raise MissingExtraError.of((error.name or "matplotlib").partition(".")[0], "vision") from error

Align = Literal["left", "center", "right"]
FAMILY = "DejaVu Sans"  # bundled with matplotlib, so figures look the same everywhere
Points = float | int
"""A length on the canvas."""

ROUNDING = 3.0

Drawing = Image.Image
"""A finished figure: an RGB Pillow image."""

_LINE = 0.8
_UNKNOWN = "\ufffd"
_FACE_SIZE = 100.0


@dataclass(frozen=True)
class Box:
    """A rectangle on the canvas, in points."""

    left: Points
    top: Points
    width: Points
    height: Points

    @property
    def right(self) -> Points:
        """The right edge."""
        return self.left + self.width

    @property
    def bottom(self) -> Points:
        """The bottom edge."""
        return self.top + self.height


class Pixels(Artist):
    """Pixels drawn without resampling, unlike images of matplotlib."""

    def __init__(self, pixels: UInt8[np.ndarray, "_ _ 4"], left: int, top: int) -> None:
        super().__init__()
        self._pixels, self._left, self._top = pixels, left, top

    def draw(self, renderer: RendererBase) -> None:
        """Draw the pixels; matplotlib counts rows from the bottom."""
        below = round(renderer.get_canvas_width_height()[1]) - self._top - len(self._pixels)
        renderer.draw_image(renderer.new_gc(), self._left, below, np.ascontiguousarray(self._pixels[::-1]))


class Canvas:
    """A canvas `width` points wide, drawn with matplotlib's Agg and without global state."""

    def __init__(self, width: Points, look: Look) -> None:
        self.look = look
        self.theme = look.colors
        self.width = width
        self._figure = Figure((1, 1), dpi=72 * look.scale, facecolor=self.theme.background)
        self._agg = FigureCanvasAgg(self._figure)
        axes = self._figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_autoscale_on(False)
        self._axes = axes
        self._layers = 0

    def fitted(self, words: str, width: Points, size: Points = LABEL, *, bold: bool = False) -> str:
        """Return the text in one line, truncated with an ellipsis to `width`."""
        line = " ".join(words.split())
        if text_width(line, size, bold=bold) <= width:
            return line
        shortest, longest = 0, len(line)
        while shortest < longest:
            middle = (shortest + longest + 1) // 2
            fits = text_width(line[:middle].rstrip() + "…", size, bold=bold) <= width
            shortest, longest = (middle, longest) if fits else (shortest, middle - 1)
        return line[:shortest].rstrip() + "…"

    def wrapped(self, words: str, width: Points, size: Points = LABEL, *, lines: int = 4) -> list[str]:
        """Wrap the text to at most `lines` lines of `width`."""
        rows: list[str] = []
        rest = words.split()
        while rest and len(rows) < lines - 1:
            taken = 1
            while taken < len(rest) and text_width(" ".join(rest[: taken + 1]), size) <= width:
                taken += 1
            rows.append(self.fitted(" ".join(rest[:taken]), width, size))
            rest = rest[taken:]
        return [*rows, self.fitted(" ".join(rest), width, size)] if rest else rows

    def write(
        self,
        words: str,
        left: Points,
        baseline: Points,
        *,
        width: Points,
        size: Points = LABEL,
        bold: bool = False,
        color: str | None = None,
        align: Align = "left",
    ) -> None:
        """Write one line of text, aligned within `width` from `left`."""
        line = self.fitted(words, width, size, bold=bold)
        spare = width - text_width(line, size, bold=bold)
        start = left + {"left": 0.0, "center": spare / 2, "right": spare}[align]
        # outlines instead of hinted text: exactly as wide as `text_width`, whatever the settings of matplotlib
        letters, codes = text_to_path.get_text_path(_font(size, bold), drawable(line))
        if len(letters):
            placed = np.asarray(letters) * (size / text_to_path.FONT_SCALE) * (1, -1) + (start, baseline)
            self._add(PathPatch(Path(placed, codes), facecolor=color or self.theme.text, linewidth=0))

    def fill(self, box: Box, color: str, *, rounding: Points = 0.0, outline: str | None = None) -> None:
        """Draw a filled rectangle, optionally with round corners and an outline."""
        if outline:
            self.fill(box, outline, rounding=rounding)
            box = Box(box.left + _LINE, box.top + _LINE, box.width - 2 * _LINE, box.height - 2 * _LINE)
        red_green_blue = np.array([round(255 * share) for share in to_rgb(color)], dtype=np.uint8)
        self.show(np.broadcast_to(red_green_blue, (*self.pixel_size(box), 3)), box, rounding=rounding)

    def show(self, pixels: Picture, box: Box, *, rounding: Points = ROUNDING) -> None:
        """Draw pixels without resampling from the top left corner of `box`; `pixel_size` is the size of a box."""
        scale = self.look.scale
        corners = _corner_mask(pixels.shape[0], pixels.shape[1], rounding * scale)
        self._add(Pixels(np.dstack([pixels, corners]), round(box.left * scale), round(box.top * scale)))

    def outline(self, heat: Heat, box: Box, levels: tuple[Points, ...]) -> None:
        """Draw the contours of `heat` at these levels, white with dark edges; NaN is left out."""
        rows, columns = heat.shape
        across = box.left + (np.arange(columns) + 0.5) * box.width / columns
        down = box.top + (np.arange(rows) + 0.5) * box.height / rows
        reached = [level for level in levels if np.nanmin(heat) < level <= np.nanmax(heat)]
        for width, color in ((2.2, "#00000088"), (1.1, "#ffffff")):
            if reached:
                self._layers += 1
                self._axes.contour(across, down, heat, reached, colors=color, linewidths=width, zorder=self._layers)

    def pixel_size(self, box: Box) -> tuple[int, int]:
        """Return the height and width of a box in pixels."""
        return max(1, round(box.height * self.look.scale)), max(1, round(box.width * self.look.scale))

    def _add(self, artist: Artist) -> None:
        """Add an artist on top of all others."""
        self._layers += 1
        artist.set_zorder(self._layers)
        self._axes.add_artist(artist)

    def picture(self, height: Points) -> Drawing:
        """Return the canvas, `height` points high, as an RGB image."""
        scale = self.look.scale
        rows, columns = self.pixel_size(Box(0, 0, self.width, height))
        self._figure.set_size_inches(columns / self._figure.dpi, rows / self._figure.dpi)
        self._axes.set_xlim(0, columns / scale)
        self._axes.set_ylim(rows / scale, 0)
        self._agg.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(self._agg.buffer_rgba())  # type: ignore[no-untyped-call]
        return Image.fromarray(pixels[:, :, :3].copy())


def fitted_box(shape: tuple[int, ...], box: Box) -> Box:
    """Return the largest centered box with a picture's proportions."""
    factor = min(box.height / shape[0], box.width / shape[1])
    height, width = shape[0] * factor, shape[1] * factor
    return Box(box.left + (box.width - width) / 2, box.top + (box.height - height) / 2, width, height)


def drawable(words: str) -> str:
    """Replace characters that the font lacks."""
    return "".join(letter if _advance(letter, False) is not None else _UNKNOWN for letter in words)


def text_width(words: str, size: Points = LABEL, *, bold: bool = False) -> float:
    """Return the width of a line of text in points: the sum of its glyph advances."""
    return size * sum(_advance(letter, bold) or _advance(_UNKNOWN, bold) or 0.0 for letter in words)


@lru_cache(maxsize=4096)
def _advance(letter: str, bold: bool) -> float | None:
    """Return the advance of a glyph at size 1, or None if the font lacks it."""
    face = _face(bold)
    if not face.get_char_index(ord(letter)):
        return None
    return float(face.load_char(ord(letter)).linearHoriAdvance) / (65536 * _FACE_SIZE)


@lru_cache(maxsize=2)
def _face(bold: bool) -> FT2Font:
    face = FT2Font(findfont(_font(LABEL, bold)))
    face.set_size(_FACE_SIZE, 72)
    return face


@lru_cache(maxsize=32)
def _font(size: Points, bold: bool) -> FontProperties:
    return FontProperties(family=FAMILY, size=size, weight="bold" if bold else "normal")


@lru_cache(maxsize=64)
def _corner_mask(rows: int, columns: int, radius: Points) -> UInt8[np.ndarray, "rows columns"]:
    """Return the opacity of a rectangle with round, antialiased corners."""
    down, across = (np.minimum(np.arange(n) + 0.5, n - np.arange(n) - 0.5) for n in (rows, columns))
    radius = min(radius, rows / 2, columns / 2)
    beyond = np.hypot(np.maximum(radius - down, 0)[:, None], np.maximum(radius - across, 0)[None])
    covered = np.where(beyond > 0, np.clip(radius + 0.5 - beyond, 0, 1), 1)
    mask: UInt8[np.ndarray, "rows columns"] = np.floor(covered * 255 + 0.5).astype(np.uint8)
    return mask
