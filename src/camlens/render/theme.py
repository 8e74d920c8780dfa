"""The appearance of figures: themes, font sizes and options."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from camlens.core.arguments import check_choice, check_range
from camlens.render.colormaps import DEFAULT, DIVERGING, color_table
from camlens.render.overlays import Mode
from camlens.render.pictures import Number

ThemeName = Literal["light", "dark"]

TITLE, HEADING, LABEL, SMALL = 17.0, 12.0, 11.0, 9.5
"""Font sizes in points; one point is one unit of a canvas."""


@dataclass(frozen=True)
class Theme:
    """Colors by use."""

    background: str
    surface: str
    text: str
    muted: str
    line: str
    accent: str
    quiet: str
    good: str
    bad: str
    note_surface: str
    note_text: str


THEMES: dict[ThemeName, Theme] = {
    "light": Theme(
        background="#ffffff",
        surface="#ecebe8",
        text="#1b1c1f",
        muted="#595c63",
        line="#dcdbd6",
        accent="#a63f08",
        quiet="#aeafb3",
        good="#176b42",
        bad="#b3261e",
        note_surface="#fbf0d9",
        note_text="#7a5200",
    ),
    "dark": Theme(
        background="#121315",
        surface="#25272b",
        text="#ecebe8",
        muted="#a4a7ae",
        line="#303237",
        accent="#ffa270",
        quiet="#63666d",
        good="#78d6a6",
        bad="#ff9a90",
        note_surface="#362b15",
        note_text="#f2c46d",
    ),
}


@dataclass(frozen=True)
class Look:
    """Options of a figure; `colormap`, `alpha`, `threshold`, `contour` and `mode` are as in `overlay`.

    `scale` is the number of pixels per unit: 1 for a small picture, 2 for print and high-resolution screens. `crop`
    shows the model's input instead of the whole photograph.
    """

    colormap: str = DEFAULT
    alpha: Number = 0.5
    threshold: Number | None = None
    contour: Number | Sequence[Number] | None = None
    mode: Mode = "blend"
    theme: ThemeName = "light"
    scale: Number = 1.5
    crop: bool = False

    def __post_init__(self) -> None:
        color_table(self.colormap)
        check_choice("theme", self.theme, get_args(ThemeName))
        check_range("scale", self.scale, 0.5, 4)

    def for_evidence(self) -> "Look":
        """Return the look for signed maps."""
        return replace(self, colormap=DIVERGING, mode="evidence")

    @property
    def colors(self) -> Theme:
        """The colors of the theme."""
        return THEMES[self.theme]
