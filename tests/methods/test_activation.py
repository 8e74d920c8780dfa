"""Feature Explanation Method against its reference."""

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.methods.activation import fem
from tests.methods import reference
from tests.refusals import refused
from tests.twins import twin_of


@pytest.mark.parametrize("shape", [(3, 5, 30), (3, 5, 6, 7), (2, 4, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("sigmas", [1.0, 2.0])
@twin_of("fem")
def test_fem_equals_its_reference(shape: tuple[int, ...], sigmas: float) -> None:
    activations = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    expected = np.stack([reference.fem(one, sigmas) for one in activations.double().numpy()])
    assert expected.any()
    assert_close(fem(activations, sigmas=sigmas), torch.from_numpy(expected).float(), rtol=1e-5, atol=1e-6)


def test_fem_marks_the_one_strong_cell_with_the_channel_mean() -> None:
    activations = torch.zeros(1, 1, 4, 4)
    activations[0, 0, 2, 1] = 8.0
    expected = torch.zeros(1, 4, 4)
    expected[0, 2, 1] = 0.5
    assert torch.equal(fem(activations), expected)


def test_fem_scales_with_tiny_activations() -> None:
    activations = torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(0)) ** 4
    assert_close(fem(activations * 1e-12) / 1e-12, fem(activations), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("sigmas", [-1.0, float("nan"), float("inf")])
def test_fem_refuses_invalid_thresholds(sigmas: float) -> None:
    with refused("argument.invalid", InputError, name="sigmas"):
        fem(torch.zeros(1, 1, 2, 2), sigmas=sigmas)
