import numpy as np
import pytest

from camlens.render.canvas import Drawing
from camlens.render.gallery import Case, contact_sheet, correct_against_incorrect
from camlens.render.overlays import overlay
from camlens.render.theme import THEMES, Look

SMALL = Look(scale=1.0)
MARGIN = 32
PICTURE = np.random.default_rng(1).integers(0, 256, (168, 168, 3), dtype=np.uint8)
HEAT = np.random.default_rng(2).random((168, 168)).astype(np.float32)


def case(predicted: str = "cat", true_class: str | None = "cat", confidence: float = 0.9) -> Case:
    return Case(PICTURE, HEAT, predicted, confidence, true_class)


def holds(drawn: Drawing, name: str) -> bool:
    colour = [int(getattr(THEMES["light"], name)[i : i + 2], 16) for i in (1, 3, 5)]
    return bool((np.asarray(drawn) == colour).all(axis=2).any())


def test_a_case_knows_whether_it_is_right_wrong_or_unknown() -> None:
    assert [case("cat", truth).correct for truth in ("cat", "dog", None)] == [True, False, None]


def test_a_sheet_is_as_wide_as_its_columns_and_as_high_as_its_lines() -> None:
    one, five, six = (contact_sheet([case()] * count, look=SMALL) for count in (1, 5, 6))
    assert one.width == 2 * MARGIN + 168
    assert five.width == six.width == 2 * MARGIN + 5 * 168 + 4 * 20
    assert one.height == five.height
    assert six.height - five.height == 168 + 38 + 20


def test_a_sheet_shows_the_overlays() -> None:
    pixels = np.asarray(contact_sheet([case(), case()], look=SMALL))
    wanted = overlay(PICTURE, HEAT)[5:-5, 5:-5]
    for left in (MARGIN, MARGIN + 188):
        assert np.array_equal(pixels[MARGIN + 5 : MARGIN + 163, left + 5 : left + 163], wanted)


def test_wrong_cases_are_marked_in_another_colour_than_right_ones() -> None:
    right, wrong, unknown = (
        contact_sheet([case("cat", truth)], look=Look(scale=3.0)) for truth in ("cat", "dog", None)
    )
    assert (holds(right, "good"), holds(right, "bad")) == (True, False)
    assert (holds(wrong, "good"), holds(wrong, "bad")) == (False, True)
    assert (holds(unknown, "good"), holds(unknown, "bad")) == (False, False)


def test_correct_stands_left_and_incorrect_right() -> None:
    drawn = correct_against_incorrect([(case(), case("dog"))], look=SMALL)
    middle = drawn.width // 2
    left, right = drawn.crop((0, 0, middle, drawn.height)), drawn.crop((middle, 0, drawn.width, drawn.height))
    assert (holds(left, "good"), holds(left, "bad")) == (True, False)
    assert (holds(right, "good"), holds(right, "bad")) == (False, True)


@pytest.mark.parametrize("pair", [(None, case("dog")), (case(), None)])
def test_a_missing_side_stays_empty(pair: tuple[Case | None, Case | None]) -> None:
    pixels = np.asarray(correct_against_incorrect([pair], look=SMALL))
    middle = pixels.shape[1] // 2
    below = pixels[MARGIN + 34 :]
    empty, drawn = (below[:, :middle], below[:, middle:])[:: 1 if pair[0] is None else -1]
    assert (empty == 255).all()
    assert not (drawn == 255).all()
