"""Gaussian windows sum to one, blur evenly and keep the border."""

import math

import torch
from torch.testing import assert_close

from camlens.metrics.windows import blurred, filtered, gaussian_window


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


def test_blurring_keeps_even_images_up_to_the_border_and_spreads_a_dot() -> None:
    for axes in (1, 2, 3):
        even = torch.full((2, 3, *[6] * axes), 0.3)
        assert_close(blurred(even), even)
    dot = torch.zeros(1, 1, 31, 31)
    dot[0, 0, 15, 15] = 1
    window = gaussian_window(11, 5.0).float()
    assert_close(blurred(dot)[0, 0, 10:21, 10:21], window[:, None] * window)
    assert_close(blurred(dot).sum(), torch.tensor(1.0))
