import io

import numpy as np
import pytest
import torch
from PIL import Image

from camlens.core.errors import InputError
from camlens.render.pictures import as_heatmap, as_map, as_picture, encode_png
from tests.refusals import refused

COLORS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3) * 10


def test_colors_may_come_first_or_last_as_bytes_or_floats_in_any_library() -> None:
    tensor = torch.from_numpy(COLORS)
    for image in (
        COLORS,
        COLORS.transpose(2, 0, 1),
        COLORS / 255,
        (COLORS / 255).astype(np.float32),
        tensor,
        tensor.permute(2, 0, 1) / 255,
        Image.fromarray(COLORS),
    ):
        assert np.array_equal(as_picture(image), COLORS)


def test_gray_pictures_become_three_equal_channels() -> None:
    grey = COLORS[:, :, 0]
    for image in (grey, grey[None], grey[:, :, None], Image.fromarray(grey)):
        assert np.array_equal(as_picture(image), np.repeat(grey[:, :, None], 3, axis=2))


def test_palette_images_are_converted_to_their_colors() -> None:
    image = Image.fromarray(np.full((3, 3, 3), (200, 100, 50), np.uint8)).quantize(4)
    assert image.mode == "P"
    assert as_picture(image)[1, 1].tolist() == [200, 100, 50]


def test_a_picture_is_a_copy() -> None:
    as_picture(COLORS)[:] = 0
    assert COLORS.max() > 0


def test_floats_are_rounded_half_up() -> None:
    assert as_picture(np.array([[0.5 / 255, 1.49 / 255, 1.5 / 255]]))[0, :, 0].tolist() == [1, 1, 2]


@pytest.mark.parametrize(
    ("image", "code", "facts"),
    [
        (np.zeros((2, 2, 4), np.uint8), "image.shape", {"shape": (2, 2, 4)}),
        (np.zeros((1, 3, 2, 2), np.float32), "image.shape", {"shape": (1, 3, 2, 2)}),
        (np.zeros((0, 4, 3), np.uint8), "image.shape", {"shape": (0, 4, 3)}),
        (np.zeros((2, 2, 3), np.int64), "image.dtype", {"dtype": "int64"}),
        (np.full((2, 2, 3), 200.0), "image.range", {"range": (200.0, 200.0)}),
        (torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0)), "image.range", {}),
        (np.full((2, 2, 3), np.nan), "image.range", {}),
    ],
)
def test_other_arrays_than_pictures_are_refused(image: object, code: str, facts: dict[str, object]) -> None:
    with refused(code, InputError, **facts):
        as_picture(image)


@pytest.mark.parametrize(
    ("heatmap", "code", "facts"),
    [
        (np.full((2, 2), np.nan), "heatmap.not-finite", {"values": 4}),
        (np.array([[0.0, np.inf]]), "heatmap.not-finite", {"values": 1}),
        (np.array([[0.0, 1.5]]), "heatmap.range", {"range": (0.0, 1.5), "allowed": (0, 1)}),
        (np.array([[-0.5, 1.0]]), "heatmap.range", {"range": (-0.5, 1.0), "allowed": (0, 1)}),
        (np.zeros((1, 2, 2)), "heatmap.shape", {"shape": (1, 2, 2)}),
        (np.zeros((0, 2)), "heatmap.shape", {"shape": (0, 2)}),
        (np.zeros((2, 2), np.int64), "heatmap.dtype", {"dtype": "int64"}),
    ],
)
def test_other_arrays_than_heat_maps_are_refused(heatmap: object, code: str, facts: dict[str, object]) -> None:
    with refused(code, InputError, **facts):
        as_heatmap(heatmap)


def test_rounding_errors_are_clipped_not_refused() -> None:
    assert as_heatmap(np.array([[-1e-6, 1 + 1e-6]])).tolist() == [[0, 1]]
    assert as_heatmap(np.array([[-1 - 1e-6, 0.5]]), signed=True).tolist() == [[-1, 0.5]]


def test_uint8_and_bool_heat_maps_are_accepted() -> None:
    assert as_heatmap(np.array([[0, 51, 255]], np.uint8))[0].tolist() == pytest.approx([0, 0.2, 1])
    assert as_heatmap(np.array([[False, True]])).tolist() == [[0, 1]]


def test_a_map_may_have_any_magnitude() -> None:
    assert as_map(torch.tensor([[-3.0, 1e6]], requires_grad=True)).tolist() == [[-3, 1e6]]


def test_a_png_is_lossless_and_reproducible() -> None:
    encoded = encode_png(COLORS)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded))), COLORS)
    assert encode_png(COLORS) == encoded
