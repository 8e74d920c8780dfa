"""Gaussian windows sum to one, and images are blurred as in RISE."""

import math

import pytest
import torch
from torch.testing import assert_close

from camlens.metrics.windows import blurred, filtered, folded_window, gaussian_window
from tests.metrics import reference


def test_the_window_is_gaussian_symmetric_and_sums_to_one() -> None:
    window = gaussian_window(5, 1.2)
    assert_close(window.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert_close(window, window.flip(0))
    assert_close(float(window[3] / window[2]), math.exp(-1 / (2 * 1.2**2)))
    assert_close(float(window[4] / window[2]), math.exp(-4 / (2 * 1.2**2)))


def test_filtering_is_one_axis_after_the_other_where_the_window_fits() -> None:
    values = torch.rand(2, 5, 6, generator=torch.Generator().manual_seed(0)).double()
    window = gaussian_window(3, 1.0)
    first = (values[1, 1:4, 2:5] * window[:, None] * window).sum()
    result = filtered(values, window)
    assert result.shape == (2, 3, 4)
    assert_close(result[1, 1, 2], first)


@pytest.mark.parametrize("size", [(13,), (14, 12)])
def test_blurring_is_that_of_rise(size: tuple[int, ...]) -> None:
    inputs = torch.rand(2, 2, *size, generator=torch.Generator().manual_seed(0))
    expected = [torch.from_numpy(reference.rise_blur(image.double().numpy())).float() for image in inputs]
    assert_close(blurred(inputs), torch.stack(expected))


def test_the_folded_window_sums_to_one_and_is_flatter_than_the_gaussian() -> None:
    window = folded_window(11, 5.0)
    assert_close(window.sum(), torch.tensor(1.0, dtype=torch.float64))
    assert_close(window, window.flip(0))
    assert window.max() - window.min() < 0.2 * (gaussian_window(11, 5.0).max() - gaussian_window(11, 5.0).min())
    assert_close(folded_window(11, 0.5), gaussian_window(11, 0.5), rtol=0, atol=1e-6)
