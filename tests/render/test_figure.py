from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from camlens.core.errors import InputError
from camlens.render.colormaps import DIVERGING, color_table
from camlens.render.figure import class_difference, map_row, panel
from camlens.render.overlays import stripe_gaps
from camlens.render.theme import THEMES, Look
from tests.refusals import refused

LONG = "a class whose name goes on and on, and then some more, as names of birds and dogs do " * 3
SMALL = Look(scale=1.0)
DARK = Look(scale=1.0, theme="dark")
MARGIN = 32


def blob(height: int = 60, width: int = 90, *, down: float = 0.4, across: float = 0.5) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    squared = (y / height - down) ** 2 + (x / width - across) ** 2
    return np.exp(-squared / 0.04).astype(np.float32)


def photograph(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ranked(*names: str) -> list[dict[str, Any]]:
    return [
        {"class_idx": number, "class_name": name, "confidence": 0.6 / (number + 1)} for number, name in enumerate(names)
    ]


def margins_are_empty(picture: Any, look: Look) -> bool:
    """Whether nothing but background lies at the outermost points of the sheet."""
    pixels = np.asarray(picture)
    edge = round((MARGIN - 4) * look.scale)
    background = [int(look.colors.background[i : i + 2], 16) for i in (1, 3, 5)]
    sides = (pixels[:, :edge], pixels[:, -edge:], pixels[: round(20 * look.scale)], pixels[-12:])
    return all((side == background).all() for side in sides)


def test_a_panel_shows_photograph_heat_map_and_overlay_at_their_documented_size() -> None:
    picture, heat = photograph(), blob()
    drawn = panel(picture, heat, look=SMALL)
    assert drawn.mode == "RGB"
    assert drawn.width == 2 * MARGIN + 3 * 236 + 2 * 20
    pixels, top, height = np.asarray(drawn), MARGIN + 22, round(236 * 60 / 90)
    middle = top + round(0.4 * height)
    heat_left = MARGIN + 236 + 20
    assert (np.abs(pixels[middle, heat_left + 118].astype(int) - color_table("turbo")[255]) <= 40).all()
    cold = pixels[top + height - 4, heat_left + 4].astype(int)
    assert np.abs(cold - color_table("turbo")[0]).max() <= 40
    shown = pixels[top : top + height, MARGIN : MARGIN + 236]
    assert shown[10:-10, 10:-10].mean(axis=(0, 1)) == pytest.approx(picture.mean(axis=(0, 1)), abs=3)


def test_a_picture_that_needs_no_resizing_keeps_its_pixels_in_the_panel() -> None:
    picture = photograph(236, 236)
    pixels = np.asarray(panel(picture, blob(236, 236), look=SMALL))
    inner = pixels[MARGIN + 22 + 5 : MARGIN + 22 + 231, MARGIN + 5 : MARGIN + 231]
    assert np.array_equal(inner, picture[5:231, 5:231])


def test_an_overlay_that_needs_no_resizing_equals_the_overlay_function() -> None:
    from camlens.render.overlays import overlay

    picture, heat = photograph(236, 236), blob(236, 236)
    look = Look(scale=1.0, colormap="inferno", alpha=0.3, threshold=0.2)
    pixels = np.asarray(panel(picture, heat, look=look))
    left = MARGIN + 2 * 256
    shown = pixels[MARGIN + 22 + 5 : MARGIN + 22 + 231, left + 5 : left + 231]
    wanted = overlay(picture, heat, alpha=0.3, colormap="inferno", threshold=0.2)
    assert np.array_equal(shown, wanted[5:231, 5:231])


def test_the_bar_of_a_class_is_as_long_as_its_confidence() -> None:
    predictions = [{"class_idx": 0, "class_name": "cat", "confidence": 0.75}]
    pixels = np.asarray(panel(photograph(), blob(), predictions=predictions, look=SMALL))
    accent = [int(THEMES["light"].accent[i : i + 2], 16) for i in (1, 3, 5)]
    widths = (pixels == accent).all(axis=2).sum(axis=1)
    assert widths.max() == pytest.approx(0.75 * 248, abs=3)  # its ends are round


def test_the_badge_marks_correct_and_incorrect_predictions() -> None:
    def colors(true_class: int | str | None) -> set[tuple[int, ...]]:
        drawn = panel(photograph(), blob(), predictions=ranked("cat", "dog"), true_class=true_class, look=SMALL)
        corner = np.asarray(drawn)[MARGIN - 2 : MARGIN + 22, -MARGIN - 80 :]
        return {tuple(pixel) for pixel in corner.reshape(-1, 3).tolist()}

    good, bad = (
        tuple(int(getattr(THEMES["light"], name)[i : i + 2], 16) for i in (1, 3, 5)) for name in ("good", "bad")
    )
    assert good in colors(0)
    assert good in colors("cat")
    assert bad in colors(1)
    assert bad in colors("horse")
    assert not {good, bad} & colors(None)


@pytest.mark.parametrize("look", [SMALL, DARK, Look(scale=1.5)], ids=["light", "dark", "larger"])
def test_long_texts_stay_within_the_margins(look: Look) -> None:
    predictions = ranked(*(f"{number} {LONG}" for number in range(5)))
    drawn = [
        panel(
            photograph(),
            blob(),
            title=LONG,
            subtitle=LONG,
            predictions=predictions,
            true_class=LONG,
            target=3,
            notes=[LONG, "x" * 900],
            look=look,
        ),
        map_row(photograph(), {LONG: blob()}, details={LONG: LONG}, title=LONG, subtitle=LONG, look=look),
        class_difference(photograph(), blob(), blob(), names=(LONG, LONG), subtitle=LONG, look=look),
    ]
    assert [margins_are_empty(picture, look) for picture in drawn] == [True] * len(drawn)


def test_captions_do_not_touch() -> None:
    heatmaps = {f"{number} {LONG}": blob() for number in range(3)}
    drawn = map_row(photograph(), heatmaps, details=dict.fromkeys(heatmaps, LONG), look=SMALL)
    pixels = np.asarray(drawn)[: MARGIN + 22 + 126]  # above the color bar
    for number in range(3):
        gap = MARGIN + 190 + number * 210
        assert (pixels[:, gap + 3 : gap + 18] == 255).all()


def test_unusual_characters_are_drawn_without_warnings() -> None:
    drawn = panel(
        photograph(),
        blob(),
        title="猫 $\\alpha$ {x} \t\n €",
        predictions=ranked("日本", "", "naïve_$x^2$"),
        look=SMALL,
    )
    assert margins_are_empty(drawn, SMALL)


def test_each_map_has_its_own_scale() -> None:
    picture, heat = np.zeros((190, 190, 3), np.uint8), np.ones((190, 190), np.float32)
    look = Look(scale=1.0, alpha=1.0, colormap="grey")
    pixels = np.asarray(map_row(picture, {"weak": heat * 0.2, "strong": heat * 4}, look=look))
    assert [int(pixels[MARGIN + 100, MARGIN + 210 * (number + 1) + 95, 0]) for number in range(2)] == [255, 255]


def test_many_maps_fill_rows_of_equal_length() -> None:
    heatmaps = {f"layer{number}": blob() for number in range(9)}
    wide = map_row(photograph(), heatmaps, details={"layer1": "7 × 7"}, look=SMALL)
    assert wide.width == 2 * MARGIN + 5 * 190 + 4 * 20
    single = map_row(photograph(), {"layer1": blob()}, look=SMALL)
    assert wide.height == pytest.approx(single.height + 190 * 60 / 90 + 42, abs=1)


def test_a_difference_is_orange_for_the_first_class_and_striped_blue_for_the_second() -> None:
    first, second = blob(236, 236, across=0.2), blob(236, 236, across=0.8)
    picture = np.full((236, 236, 3), (128, 20, 200), np.uint8)
    grey = 73
    drawn = class_difference(picture, first, second, names=("A", "B"), look=Look(scale=1.0, alpha=1.0))
    pixels = np.asarray(drawn).astype(int)
    top, left = MARGIN + 62 + 22, MARGIN + 3 * 256
    row = pixels[top + 94, left : left + 236]
    values = (first - second)[94]
    gaps = stripe_gaps(236, 236)[94]
    stripe, gap = (int(np.flatnonzero(mask[180:200])[0]) + 180 for mask in (~gaps, gaps))
    for place in (47, stripe):
        share = np.sqrt(abs(values[place]))
        color = color_table(DIVERGING)[255 if values[place] > 0 else 0]
        assert np.abs(row[place] - (grey * (1 - share) + color * share)).max() <= 6
    assert row[47, 0] - row[47, 2] > 60
    assert row[stripe, 2] - row[stripe, 0] > 60
    assert row[gap].min() > 100, "white between the stripes"
    assert np.abs(row[118] - grey).max() <= 20


def test_signed_maps_and_heat_maps_have_separate_color_bars() -> None:
    flat, half = np.ones((190, 190), np.float32), np.full((190, 190), -0.5, np.float32)
    maps = {"gradcam": flat, "lime": half}
    look = Look(scale=1.0, alpha=1.0, colormap="grey")
    pixels = np.asarray(map_row(np.zeros((190, 190, 3), np.uint8), maps, signed={"lime"}, look=look)).astype(int)
    top, lefts = MARGIN + 22, [MARGIN + 210, MARGIN + 420]
    assert (pixels[top + 100, lefts[0] + 95] == 255).all()
    lime = pixels[top + 20 : top + 170, lefts[1] + 20 : lefts[1] + 170].reshape(-1, 3)
    assert {tuple(one) for one in lime.tolist()} == {(148, 148, 148), tuple(color_table(DIVERGING)[0].tolist())}
    bar = pixels[top + 190 + 12 + 3]
    assert np.array_equal(bar[lefts[0] + 95], color_table("grey")[128])
    assert np.abs(bar[lefts[1] + 189 - 6] - color_table(DIVERGING)[250]).max() < 12
    tick = pixels[top + 190 + 12 + 7, lefts[1] + 93 : lefts[1] + 97]
    assert tick.max(axis=1).min() < 90, "a tick at zero reaches below the bar"


def test_nearly_equal_maps_are_reported() -> None:
    def height(other: np.ndarray) -> int:
        return class_difference(photograph(), blob(), other, names=("A", "B"), look=SMALL).height

    assert height(blob(across=0.51)) > height(blob(across=0.9))
    assert height(np.zeros((60, 90), np.float32)) == height(blob(across=0.9))


def test_extreme_proportions_are_fitted_and_not_stretched() -> None:
    wide = panel(photograph(20, 200), blob(20, 200), look=SMALL)
    assert wide.height < panel(photograph(200, 20), blob(200, 20), look=SMALL).height
    pixels = np.asarray(wide)
    surface = [int(THEMES["light"].surface[i : i + 2], 16) for i in (1, 3, 5)]
    assert pixels[MARGIN + 22 + 10, MARGIN + 118].tolist() == surface


@pytest.mark.parametrize(
    ("draw", "code", "facts"),
    [
        (lambda: panel(photograph(), blob(90, 60)), "heatmap.proportions", {"size": (90, 60), "image": (60, 90)}),
        (lambda: panel(photograph(), blob() * 3), "heatmap.range", {"allowed": (0, 1)}),
        (lambda: panel(photograph(), blob() * np.nan), "heatmap.not-finite", {}),
        (lambda: map_row(photograph(), {}), "argument.empty", {"name": "heatmaps"}),
        (lambda: map_row(photograph(), {"a": blob() - 1}), "heatmaps.negative", {"map": "a"}),
    ],
)
def test_invalid_maps_are_refused(draw: Callable[[], object], code: str, facts: dict[str, object]) -> None:
    with refused(code, InputError, **facts):
        draw()


def test_a_coarse_map_is_drawn_at_the_size_of_the_picture() -> None:
    assert panel(photograph(60, 90), blob(5, 7), look=SMALL).width == 812


def test_figures_drawn_in_threads_equal_those_drawn_alone() -> None:
    def draw(number: int) -> bytes:
        heat = blob(across=0.1 * (number % 8) + 0.1)
        look = (SMALL, DARK)[number % 2]
        if number % 3:
            names = ranked(f"class {number}", LONG)
            return panel(photograph(), heat, title=f"{number}", predictions=names, look=look).tobytes()
        return map_row(photograph(), {"gradcam": heat, "layercam": heat**2}, look=look).tobytes()

    alone = [draw(number) for number in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(draw, range(12)))
    assert together == alone
    assert len(set(alone)) == 12
