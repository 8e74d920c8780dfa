import math

import numpy as np
import pytest
import torch

from camlens.core.errors import InputError
from camlens.render.colormaps import DIVERGING, color_table, colorize
from camlens.render.overlays import contour_mask, difference, overlay
from tests.refusals import refused

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (20, 30, 3), dtype=np.uint8)
HEAT = RANDOM.random((20, 30)).astype(np.float32)


def slow_overlay(image: np.ndarray, heat: np.ndarray, alpha: float, colormap: str) -> np.ndarray:
    """The blend, written out pixel by pixel as a browser does it."""
    table, drawn = color_table(colormap), np.zeros_like(image)
    for row, column in np.ndindex(heat.shape):
        color = table[math.floor(float(heat[row, column]) * 255 + 0.5)]
        for channel in range(3):
            exact = int(image[row, column, channel]) * (1 - alpha) + int(color[channel]) * alpha
            drawn[row, column, channel] = math.floor(exact + 0.5)
    return drawn


@pytest.mark.parametrize("alpha", [0.0, 0.1, 0.3, 0.5, 0.77, 1.0])
@pytest.mark.parametrize("colormap", ["turbo", "grey"])
def test_a_blend_equals_its_formula_pixel_by_pixel(alpha: float, colormap: str) -> None:
    drawn = overlay(IMAGE, HEAT, alpha=alpha, colormap=colormap)
    assert np.array_equal(drawn, slow_overlay(IMAGE, HEAT, alpha, colormap))


def test_opacity_zero_is_the_image_and_one_is_the_heat_map() -> None:
    assert np.array_equal(overlay(IMAGE, HEAT, alpha=0.0), IMAGE)
    assert np.array_equal(overlay(IMAGE, HEAT, alpha=1.0), colorize(HEAT))


def test_heat_is_linear_without_overflow_and_its_maximum_has_the_last_color() -> None:
    heat = np.array([[0, 64, 128, 255]], np.uint8)
    black = np.zeros((1, 4, 3), np.uint8)
    assert overlay(black, heat, alpha=1.0, colormap="grey")[0, :, 0].tolist() == [0, 64, 128, 255]
    assert overlay(black, heat, alpha=1.0)[0, 3].tolist() == color_table("turbo")[255].tolist()
    red, _, blue = overlay(black, heat, alpha=1.0)[0, 3].tolist()
    assert red > 100 > 50 > blue, "red first: pixels are RGB, not BGR"


def test_arguments_are_not_modified() -> None:
    image, heat = IMAGE.copy(), HEAT.copy()
    overlay(image, heat, threshold=0.5, contour=0.5)
    assert np.array_equal(image, IMAGE)
    assert np.array_equal(heat, HEAT)


def test_tensors_and_floats_are_drawn_like_arrays_and_bytes() -> None:
    wanted = overlay(IMAGE, HEAT)
    tensor = torch.from_numpy(IMAGE).permute(2, 0, 1) / 255
    assert np.array_equal(overlay(tensor, torch.from_numpy(HEAT)), wanted)


def test_pixels_below_the_threshold_are_unchanged() -> None:
    drawn = overlay(IMAGE, HEAT, threshold=0.6)
    cold = HEAT < 0.6
    assert np.array_equal(drawn[cold], IMAGE[cold])
    assert np.array_equal(drawn[~cold], overlay(IMAGE, HEAT)[~cold])


def test_a_threshold_of_zero_draws_everything() -> None:
    assert np.array_equal(overlay(IMAGE, HEAT, threshold=0.0), overlay(IMAGE, HEAT))


def test_signed_heat_is_cut_off_by_magnitude() -> None:
    heat = np.array([[-0.9, -0.1, 0.1, 0.9]])
    image = np.full((1, 4, 3), 7, np.uint8)
    drawn = overlay(image, heat, alpha=1.0, colormap=DIVERGING, threshold=0.5)
    assert drawn[0, 1:3].tolist() == [[7, 7, 7]] * 2
    assert drawn[0, [0, 3]].tolist() == colorize(heat, DIVERGING)[0, [0, 3]].tolist()


def test_weighted_opacity_grows_with_the_heat() -> None:
    heat = np.array([[0, 0.5, 1]])
    image = np.full((1, 3, 3), 100, np.uint8)
    table = color_table("turbo").astype(float)
    wanted = [np.floor(100 * (1 - 0.8 * v) + table[math.floor(v * 255 + 0.5)] * 0.8 * v + 0.5) for v in heat[0]]
    assert np.array_equal(overlay(image, heat, alpha=0.8, mode="weighted")[0], wanted)


def test_evidence_is_drawn_over_a_gray_picture_with_an_opacity_that_grows_with_magnitude() -> None:
    image = np.array([[[200, 100, 0]] * 4], np.uint8)
    drawn = overlay(image, np.array([[0, 0.04, 0.25, 1]]), alpha=0.5, colormap=DIVERGING, mode="evidence")
    grey = math.floor(0.299 * 200 + 0.587 * 100 + 0.5)
    table = color_table(DIVERGING).astype(float)
    shares = [0, math.sqrt(0.02), math.sqrt(0.125), math.sqrt(0.5)]
    wanted = [np.floor(grey * (1 - s) + table[255] * s + 0.5) for s in shares]
    assert np.array_equal(drawn[0], wanted)


@pytest.mark.parametrize("level", [0, 40, 90, 110, 180, 255])
def test_opposing_evidence_is_striped_and_supporting_evidence_is_not(level: int) -> None:
    image = np.full((64, 64, 3), level, np.uint8)
    heat = np.concatenate([np.full((64, 32), 0.8), np.full((64, 32), -0.8)], axis=1)
    drawn = overlay(image, heat, alpha=0.5, colormap=DIVERGING, mode="evidence")
    left, right = drawn[:, :32].reshape(-1, 3), drawn[:, 32:].reshape(-1, 3)
    assert len(np.unique(left, axis=0)) == 1
    bare = right[:, 0] == right[:, 2]
    assert bare.mean() == 0.5, "stripes and gaps are equally wide"
    assert len(np.unique(right[~bare], axis=0)) == 1
    runs = np.flatnonzero(np.diff(bare.reshape(64, 32)[0].astype(int)))
    assert np.diff(runs).tolist() == [2] * (len(runs) - 1)
    greys = right @ [0.299, 0.587, 0.114]
    assert greys[bare].mean() - greys[~bare].mean() > 20, "also without colors, on dark and light pictures"


def test_evidence_below_the_threshold_shows_the_gray_picture() -> None:
    image = np.array([[[200, 100, 0]] * 2], np.uint8)
    drawn = overlay(image, np.array([[0.3, 0.6]]), colormap=DIVERGING, mode="evidence", threshold=0.5)
    assert drawn[0, 0].tolist() == [119] * 3
    assert len(set(drawn[0, 1].tolist())) == 3


def test_a_contour_runs_along_the_level_set() -> None:
    down, across = np.mgrid[:101, :101] - 50.0
    distance = np.hypot(down, across)
    heat = np.clip(1 - distance / 50, 0, 1)
    lines = contour_mask(heat, 0.4)  # a circle of radius 30
    assert 160 < lines.sum() < 200
    assert distance[lines].max() <= 30
    assert distance[lines].min() > 30 - math.sqrt(2)
    angles = np.sort(np.arctan2(down[lines], across[lines]))
    assert np.diff(angles).max() < 0.08, "the line is closed"


def test_contours_are_white_and_the_rest_is_as_without_them() -> None:
    heat = np.tile(np.linspace(0, 1, 30), (20, 1))
    plain, lined = overlay(IMAGE, heat), overlay(IMAGE, heat, contour=(0.25, 0.75))
    marked = contour_mask(heat, 0.25) | contour_mask(heat, 0.75)
    assert np.flatnonzero(marked[0]).tolist() == [8, 22]
    assert (lined[marked] == 255).all()
    assert np.array_equal(lined[~marked], plain[~marked])


def test_the_border_of_the_picture_is_no_contour() -> None:
    assert not contour_mask(np.ones((5, 5)), 0.5).any()


def test_a_difference_is_signed_with_a_neutral_center() -> None:
    one, other = np.array([[1.0, 0.2, 0.5]]), np.array([[0.0, 0.9, 0.5]])
    assert difference(one, other)[0].tolist() == pytest.approx([1, -0.7, 0])
    assert np.array_equal(difference(one, other), -difference(other, one))
    assert colorize(difference(one, one), DIVERGING).tolist() == [[[247] * 3] * 3]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alpha", 1.5),
        ("alpha", float("nan")),
        ("threshold", -0.1),
        ("contour", 0.0),
        ("contour", 1.2),
        ("colormap", "hot"),
        ("mode", "screen"),
    ],
)
def test_options_out_of_range_are_refused(name: str, value: object) -> None:
    undecorated = getattr(overlay, "__wrapped__", overlay)  # below the type checks of the test run
    with refused("argument.invalid", InputError, name=name, value=value):
        undecorated(IMAGE, HEAT, **{name: value})


def test_one_of_several_contours_out_of_range_is_refused() -> None:
    with refused("argument.invalid", InputError, name="contour", value=1.2):
        overlay(IMAGE, HEAT, contour=(0.5, 1.2))


def test_sizes_that_differ_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        overlay(IMAGE, np.zeros((7, 7)))
    assert (caught.value.code, caught.value.facts) == ("heatmap.proportions", {"size": (7, 7), "image": (20, 30)})
    with pytest.raises(InputError) as caught:
        difference(np.zeros((2, 2)), np.zeros((3, 3)))
    assert (caught.value.code, caught.value.facts) == ("heatmaps.size", {"sizes": ((2, 2), (3, 3))})
