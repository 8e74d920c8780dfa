"""How figures look: the colours of the two themes, the sizes of type, and what may be chosen."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Literal, get_args

from camlens.core.errors import InputError
from camlens.render.colormaps import DEFAULT, DIVERGING, colour_table
from camlens.render.overlay import Mode
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
        surface="#eef0f3",
        text="#16191d",
        muted="#5b6470",
        line="#d9dde3",
        accent="#2459c4",
        quiet="#a9b2bf",
        good="#0b7265",
        bad="#b3400f",
        note_surface="#fdf3dc",
        note_text="#6b4a00",
    ),
    "dark": Theme(
        background="#14171c",
        surface="#242a32",
        text="#eceef1",
        muted="#9ca6b3",
        line="#323a45",
        accent="#7fb0ff",
        quiet="#5d6875",
        good="#52c9b5",
        bad="#ff9a66",
        note_surface="#2d2614",
        note_text="#f3d68c",
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
