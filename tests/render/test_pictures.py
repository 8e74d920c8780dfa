import io

import numpy as np
import pytest
import torch
from PIL import Image

from camlens.core.errors import InputError
from camlens.render.pictures import as_heatmap, as_map, as_picture, encode_png

COLOURS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3) * 10


def test_colours_may_come_first_or_last_as_bytes_or_floats_in_any_library() -> None:
    tensor = torch.from_numpy(COLOURS)
    for image in (
        COLOURS,
        COLOURS.transpose(2, 0, 1),
        COLOURS / 255,
        (COLOURS / 255).astype(np.float32),
        tensor,
        tensor.permute(2, 0, 1) / 255,
        Image.fromarray(COLOURS),
    ):
        assert np.array_equal(as_picture(image), COLOURS)


def test_grey_pictures_become_three_equal_channels() -> None:
    grey = COLOURS[:, :, 0]
    for image in (grey, grey[None], grey[:, :, None], Image.fromarray(grey)):
        assert np.array_equal(as_picture(image), np.repeat(grey[:, :, None], 3, axis=2))


def test_palette_images_are_taken_by_colour_not_by_index() -> None:
    image = Image.fromarray(np.full((3, 3, 3), (200, 100, 50), np.uint8)).quantize(4)
    assert image.mode == "P"
    assert as_picture(image)[1, 1].tolist() == [200, 100, 50]


def test_a_picture_is_a_copy() -> None:
    as_picture(COLOURS)[:] = 0
    assert COLOURS.max() > 0


def test_floats_are_rounded_half_up() -> None:
    assert as_picture(np.array([[0.5 / 255, 1.49 / 255, 1.5 / 255]]))[0, :, 0].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((2, 2, 4), np.uint8), r"not \(2, 2, 4\).*without an alpha"),
        (np.zeros((1, 3, 2, 2), np.float32), r"one image at a time"),
        (np.zeros((0, 4, 3), np.uint8), r"not \(0, 4, 3\)"),
        (np.zeros((2, 2, 3), np.int64), "not int64"),
        (np.full((2, 2, 3), 200.0), r"\[200, 200\].*divide 0..255 by 255"),
        (torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)), "not the normalised input"),
        (np.full((2, 2, 3), np.nan), "nan"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(image: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_picture(image)


@pytest.mark.parametrize(
    ("heatmap", "words"),
    [
        (np.full((2, 2), np.nan), "4 of 4 values are NaN"),
        (np.array([[0.0, np.inf]]), "1 of 2 values"),
        (np.array([[0.0, 1.5]]), r"in \[0, 1\], not in \[0, 1.5\]"),
        (np.array([[-0.5, 1.0]]), "'diverging'"),
        (np.zeros((1, 2, 2)), r"shape \(H, W\), not \(1, 2, 2\)"),
        (np.zeros((0, 2)), r"not \(0, 2\)"),
        (np.zeros((2, 2), np.int64), "not int64"),
    ],
)
def test_what_is_no_heat_map_is_refused_in_words(heatmap: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        as_heatmap(heatmap)


def test_rounding_errors_are_clipped_not_refused() -> None:
    assert as_heatmap(np.array([[-1e-6, 1 + 1e-6]])).tolist() == [[0, 1]]
    assert as_heatmap(np.array([[-1 - 1e-6, 0.5]]), signed=True).tolist() == [[-1, 0.5]]


def test_bytes_and_facts_are_heat_too() -> None:
    assert as_heatmap(np.array([[0, 51, 255]], np.uint8))[0].tolist() == pytest.approx([0, 0.2, 1])
    assert as_heatmap(np.array([[False, True]])).tolist() == [[0, 1]]


def test_a_map_may_have_any_magnitude() -> None:
    assert as_map(torch.tensor([[-3.0, 1e6]], requires_grad=True)).tolist() == [[-3, 1e6]]


def test_a_png_gives_the_pixels_back_and_is_the_same_each_time() -> None:
    encoded = encode_png(COLOURS)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), COLOURS)
    assert encode_png(COLOURS) == encoded
