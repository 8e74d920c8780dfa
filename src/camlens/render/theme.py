"""How figures look: the colours of the two themes, the sizes of type, and what may be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

from camlens.core.errors import InputError
from camlens.render.colormaps import DEFAULT, DIVERGING, colour_table
from camlens.render.overlays import Mode
from camlens.render.pictures import Number

ThemeName = Literal["light", "dark"]

TITLE, HEADING, LABEL, SMALL = 17.0, 12.0, 11.0, 9.5
"""The type scale, in points; one point is one unit of a canvas."""


@dataclass(frozen=True)
class Theme:
    """Colours by what they are for."""

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
    """What may be chosen about a figure's appearance; `colormap` to `mode` mean what they mean to `overlay`.

    `scale` is the number of pixels per unit: 1 for a small picture, 2 for print and dense screens. `crop` shows
    what the model saw instead of the whole photograph.
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
        colour_table(self.colormap)
        if self.theme not in get_args(ThemeName):
            raise InputError(
                f"there is no theme {self.theme!r}; choose one of {', '.join(get_args(ThemeName))}",
                code="argument.invalid",
                name="theme",
                value=self.theme,
            )
        if not isinstance(self.scale, Real) or not 0.5 <= self.scale <= 4:
            raise InputError(
                f"scale must lie between 0.5 and 4 pixels per unit, not at {self.scale!r}",
                code="argument.invalid",
                name="scale",
                value=self.scale,
            )

    def for_evidence(self) -> "Look":
        """The same look for a map of evidence for and against."""
        return replace(self, colormap=DIVERGING, mode="evidence")

    @property
    def colours(self) -> Theme:
        """The colours of the theme chosen."""
        return THEMES[self.theme]
