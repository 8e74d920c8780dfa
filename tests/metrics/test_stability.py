"""Stability against loops over the same draws, closed forms, and maps of nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.stability import average_sensitivity, coherency, max_sensitivity
from tests.metrics import reference
from tests.refusals import refused
from tests.twins import twin_of

ALL = [max_sensitivity, average_sensitivity]


def explain(inputs: Tensor, row: int) -> Tensor:
    """A map that bends, with another shift for every image."""
    return (inputs.sum(dim=1) + row).sin()


def explain_one(row: int):
    def explained(image: np.ndarray) -> np.ndarray:
        return explain(torch.from_numpy(image)[None], row)[0].numpy()

    return explained


def images(*size: int) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", [(6,), (4, 5), (2, 3, 4)])
@twin_of("max_sensitivity", "average_sensitivity")
def test_sensitivity_is_what_loops_over_the_same_draws_give(size: tuple[int, ...]) -> None:
    inputs = images(*size)
    noises = 0.3 * (2 * torch.rand(5, 3, *size, generator=torch.Generator().manual_seed(0)) - 1)
    for metric in ALL:
        compute = getattr(reference, metric.__name__)
        wanted = [compute(explain_one(row), inputs[row].double().numpy(), noises.double().numpy()) for row in range(2)]
        result = metric(explain, inputs, radius=0.3, samples=5)
        assert_close(result, torch.tensor(wanted, dtype=torch.float32), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(6,), (4, 5), (2, 3, 4)])
@twin_of("coherency")
def test_coherency_is_the_formula(size: tuple[int, ...]) -> None:
    inputs = images(*size)
    heatmaps = inputs.mean(dim=1).sigmoid()
    wanted = [
        reference.coherency(explain_one(row), inputs[row].double().numpy(), heatmaps[row].double().numpy())
        for row in range(2)
    ]
    assert_close(coherency(explain, inputs, heatmaps), torch.tensor(wanted, dtype=torch.float32))


def test_sensitivity_is_zero_for_a_fixed_map_and_the_noise_for_the_image_itself() -> None:
    inputs = torch.full((1, 1, 50), 2.0)
    still = max_sensitivity(lambda inputs, row: torch.ones(len(inputs), 50), inputs)
    assert still.tolist() == [0]
    result = average_sensitivity(lambda inputs, row: inputs[:, 0], inputs, radius=0.02, samples=200)
    assert_close(result, torch.tensor([0.02 / 3**0.5 / 2]), rtol=0.02, atol=0)
    largest = max_sensitivity(lambda inputs, row: inputs[:, 0], inputs, radius=0.02, samples=200)
    assert result < largest <= 0.02 / 2


@pytest.mark.parametrize("metric", ALL)
def test_sensitivity_is_seeded_and_does_not_depend_on_the_batch(metric) -> None:
    inputs, state = images(4, 4), torch.get_rng_state()
    both = metric(explain, inputs, samples=40)
    assert torch.equal(both, metric(explain, inputs, samples=40))
    assert_close(both[1:], metric(lambda one, row: explain(one, row + 1), inputs[1:], samples=40))
    assert not torch.equal(both, metric(explain, inputs, generator=torch.Generator().manual_seed(1)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("metric", ALL)
def test_a_map_of_nothing_has_no_sensitivity(metric) -> None:
    def nothing(inputs: Tensor, row: int) -> Tensor:
        return inputs.sum(dim=1) * row

    assert metric(nothing, images(4, 4)).isnan().tolist() == [True, False]


def test_coherency_is_one_for_the_same_map_zero_for_the_opposite_and_nan_for_a_constant() -> None:
    heatmaps = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(0))
    inputs = torch.ones(1, 3, 4, 4)
    assert_close(coherency(lambda inputs, row: heatmaps, inputs, heatmaps), torch.tensor([1.0]))
    assert_close(coherency(lambda inputs, row: 1 - heatmaps, inputs, heatmaps), torch.tensor([0.0]))
    assert coherency(lambda inputs, row: torch.zeros(1, 4, 4), inputs, heatmaps).isnan().all()
    assert coherency(lambda inputs, row: heatmaps, inputs, torch.zeros(1, 4, 4)).isnan().all()


def test_maps_with_gradients_are_accepted_and_a_wrong_number_of_maps_is_refused() -> None:
    inputs = images(4, 4).requires_grad_()
    assert not max_sensitivity(explain, inputs).requires_grad
    with refused("explain.shape", InputError, shape=(4, 4), images=1):
        max_sensitivity(lambda inputs, row: torch.ones(4, 4), inputs)
    with refused("argument.invalid", InputError, name="radius", value=0.0):
        max_sensitivity(explain, inputs, radius=0.0)
    with refused("argument.invalid", InputError, name="samples", value=0):
        average_sensitivity(explain, inputs, samples=0)
