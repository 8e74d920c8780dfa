from dataclasses import asdict

import pytest
from matplotlib.colors import to_rgb

from camlens.core.errors import InputError
from camlens.render.theme import THEMES, Look, Theme
from tests.refusals import refused


def luminance(color: str) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_text_has_enough_contrast(theme: Theme) -> None:
    colors = asdict(theme)
    for name in ("text", "muted", "accent", "good", "bad"):
        assert contrast(colors[name], theme.background) >= 4.5, name
    assert contrast(theme.note_text, theme.note_surface) >= 4.5


@pytest.mark.parametrize("theme", THEMES.values(), ids=list(THEMES))
def test_bars_have_enough_contrast(theme: Theme) -> None:
    assert contrast(theme.accent, theme.surface) >= 3
    assert contrast(theme.quiet, theme.surface) >= 1.7


@pytest.mark.parametrize(("name", "value"), [("colormap", "hot"), ("theme", "sepia"), ("scale", 9.0)])
def test_invalid_options_of_a_look_are_refused(name: str, value: object) -> None:
    look = Look()
    object.__setattr__(look, name, value)  # below the type checks of the test run
    with refused("argument.invalid", InputError, name=name, value=value):
        look.__post_init__()
