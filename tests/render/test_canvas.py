import matplotlib
import numpy as np
import pytest

from camlens.render.canvas import Box, Canvas, fitted_box, text_width
from camlens.render.theme import LABEL, TITLE, Look

WORDS = ["tabby, tabby cat", "WWWWW iiiii", "Übergrößenträger", "$x^2$ & <b> 100 %", "猫"]


def inked(canvas: Canvas, height: float) -> np.ndarray:
    """True where the sheet is not background."""
    pixels = np.asarray(canvas.picture(height)).astype(int)
    return np.abs(pixels - pixels[0, 0]).max(axis=2) > 24


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_text_is_drawn_as_wide_as_it_was_measured(words: str, scale: float) -> None:
    canvas = Canvas(300, Look(scale=scale))
    canvas.write(words, 20, 30, width=260, size=TITLE, bold=True)
    columns = np.flatnonzero(inked(canvas, 40).any(axis=0)) / scale
    measured = text_width(words, TITLE, bold=True)
    assert 18.5 <= columns.min() <= 22.5
    assert columns.max() <= 20 + measured + 1
    assert columns.max() >= 20 + measured - 4


def test_long_text_is_truncated_with_an_ellipsis() -> None:
    canvas = Canvas(300, Look())
    cut = canvas.fitted("a class with a very long name indeed", 80)
    assert cut.startswith("a class")
    assert cut.endswith("…")
    assert text_width(cut) <= 80 < text_width(cut[:-1] + "nam…")
    canvas.write("W" * 200, 20, 30, width=120)
    assert np.flatnonzero(inked(canvas, 40).any(axis=0)).max() <= 140 * 1.5


def test_text_that_fits_is_unchanged_except_for_line_breaks() -> None:
    assert Canvas(300, Look()).fitted("two\nlines", 200) == "two lines"


def test_wrapped_text_loses_no_word_and_no_line_is_too_wide() -> None:
    canvas = Canvas(300, Look())
    words = "the evidence at this layer is all negative and the map is therefore empty"
    lines = canvas.wrapped(words, 150)
    assert " ".join(lines) == words
    assert len(lines) > 2
    assert max(text_width(line) for line in lines) <= 150
    assert canvas.wrapped(words, 150, lines=2)[-1].endswith("…")


def test_text_is_aligned_left_center_and_right() -> None:
    edges = []
    for align in ("left", "center", "right"):
        canvas = Canvas(220, Look(scale=1.0))
        canvas.write("word", 10, 30, width=200, align=align)  # type: ignore[arg-type]
        columns = np.flatnonzero(inked(canvas, 40).any(axis=0))
        edges.append((columns.min(), columns.max()))
    width = text_width("word", LABEL)
    assert edges[0][0] == pytest.approx(10, abs=2)
    assert sum(edges[1]) / 2 == pytest.approx(110, abs=2)
    assert edges[2][1] == pytest.approx(210, abs=2)
    assert edges[1][1] - edges[1][0] == pytest.approx(width, abs=3)


def test_pictures_are_drawn_without_resampling() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (30, 45, 3), dtype=np.uint8)
    canvas = Canvas(60, Look())
    canvas.show(pixels, Box(10, 8, 30, 20), rounding=0.0)
    sheet = np.asarray(canvas.picture(40))
    assert sheet.shape == (60, 90, 3)
    assert np.array_equal(sheet[12:42, 15:60], pixels)
    assert (sheet[:12] == 255).all()
    assert (sheet[42:] == 255).all()
    assert (sheet[:, :15] == 255).all()
    assert (sheet[:, 60:] == 255).all()


def test_round_corners_change_only_the_corners() -> None:
    canvas = Canvas(40, Look(scale=1.0))
    canvas.fill(Box(10, 10, 20, 20), "#000000", rounding=8)
    sheet = np.asarray(canvas.picture(40))[:, :, 0]
    assert sheet[10, 10] == sheet[29, 29] == 255
    assert sheet[20, 10] == sheet[10, 20] == sheet[20, 20] == 0
    assert (sheet < 128).sum() == pytest.approx(400 - (4 - np.pi) * 64, abs=8)


def test_later_artists_are_drawn_on_top() -> None:
    canvas = Canvas(20, Look(scale=1.0))
    canvas.fill(Box(0, 0, 20, 20), "#ff0000")
    canvas.fill(Box(0, 0, 10, 20), "#0000ff")
    sheet = np.asarray(canvas.picture(20))
    assert sheet[5, 5].tolist() == [0, 0, 255]
    assert sheet[5, 15].tolist() == [255, 0, 0]


def test_outlines_follow_the_level() -> None:
    canvas = Canvas(100, Look(scale=1.0))
    canvas.fill(Box(0, 0, 100, 40), "#7f7f7f")
    heat = np.tile(np.linspace(0, 1, 100, dtype=np.float32), (40, 1))
    canvas.outline(heat, Box(0, 0, 100, 40), (0.3,))
    row = np.asarray(canvas.picture(40))[20, :, 0].astype(int)
    assert np.flatnonzero(row > 150).tolist() in ([30], [29, 30], [30, 31])
    assert np.flatnonzero(row != 0x7F).min() >= 27


def test_levels_outside_the_range_of_a_map_are_left_out() -> None:
    canvas = Canvas(20, Look())
    canvas.outline(np.zeros((30, 30), np.float32), Box(0, 0, 20, 20), (0.5,))
    assert not inked(canvas, 20).any()


def test_matplotlib_settings_have_no_effect() -> None:
    def drawn() -> np.ndarray:
        canvas = Canvas(200, Look())
        canvas.write("a $word$ here", 10, 30, width=180)
        canvas.fill(Box(10, 35, 50, 8), "#336699", rounding=4)
        return np.asarray(canvas.picture(50))

    wanted = drawn()
    settings = {"font.family": "serif", "figure.facecolor": "red", "figure.dpi": 37, "text.hinting": "none"}
    with matplotlib.rc_context(settings | {"axes.facecolor": "blue", "text.usetex": True}):
        assert np.array_equal(drawn(), wanted)


def test_a_fitted_box_keeps_the_proportions_and_the_center() -> None:
    assert fitted_box((50, 100, 3), Box(0, 0, 40, 40)) == Box(0, 10, 40, 20)
    assert fitted_box((100, 50, 3), Box(2, 0, 40, 40)) == Box(12, 0, 20, 40)
