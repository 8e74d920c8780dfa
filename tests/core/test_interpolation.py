"""Linear interpolation against the sum over corners."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens.core.errors import LayerError
from camlens.core.heatmaps import interpolated
from tests.methods import reference
from tests.refusals import refused


@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize(("grid", "size"), [((3,), (7,)), ((3, 4), (8, 5)), ((2, 3, 2), (4, 4, 4)), ((6, 6), (3, 4))])
def test_the_interpolation_equals_its_reference(
    grid: tuple[int, ...], size: tuple[int, ...], align_corners: bool
) -> None:
    maps = torch.randn(2, 3, *grid, generator=torch.Generator().manual_seed(0))
    each = [[reference.resized(one, size, align_corners=align_corners) for one in row] for row in maps.double().numpy()]
    expected = torch.from_numpy(np.array(each)).float()
    assert_close(interpolated(maps, size, align_corners=align_corners), expected, rtol=1e-5, atol=1e-6)


def test_maps_of_the_right_size_come_back_as_they_are() -> None:
    maps = torch.randn(1, 1, 4, 5)
    assert interpolated(maps, (4, 5)) is maps


def test_maps_and_sizes_of_different_axes_are_refused() -> None:
    with refused("size.invalid", LayerError, size=(8, 8)):
        interpolated(torch.zeros(1, 1, 9), (8, 8))
