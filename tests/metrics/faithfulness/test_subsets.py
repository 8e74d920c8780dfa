"""Random sets of places: against loops, closed forms of linear models, and the peers' mix-ups."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.faithfulness import (
    faithfulness_correlation,
    gaussian_noise,
    infidelity,
    mu_fidelity,
    removed_squares,
    sensitivity_n,
    single_deletion,
)
from camlens.metrics.faithfulness.subsets import random_subsets
from camlens.metrics.patches import patch_of_each_cell
from tests.metrics import reference
from tests.metrics.toy import ToyScore
from tests.refusals import refused
from tests.twins import twin_of

ALL = [sensitivity_n, faithfulness_correlation, mu_fidelity, single_deletion, infidelity]
SIZES = [(8,), (4, 5), (2, 3, 4)]


def linear(*size: int) -> tuple[ToyScore, Tensor]:
    """A linear score and the map that explains it without rest: w x summed over channels."""
    toy = ToyScore(*size, linear=True, softmax=False)
    return toy, (toy.weights * toy.inputs).sum(dim=1)


def sets_of(members: Tensor, size: tuple[int, ...]) -> list[np.ndarray]:
    return [one.view(size).numpy() for one in members]


@pytest.mark.parametrize("size", SIZES)
@twin_of("sensitivity_n", "faithfulness_correlation", "mu_fidelity", "single_deletion")
def test_correlations_are_what_loops_over_the_same_sets_give(size: tuple[int, ...]) -> None:
    toy = ToyScore(*size)
    cells, empty = toy.maps[0].numel(), np.full((3, *size), 0.4)
    members = random_subsets(cells, 3, 20, None)
    assert_close(
        sensitivity_n(toy, toy.inputs, toy.maps, size=3, samples=20),
        toy.expected(reference.sensitivity_n, sets_of(members, size)),
    )
    members = random_subsets(cells, round(0.3 * cells), 20, None)
    assert_close(
        faithfulness_correlation(toy, toy.inputs, toy.maps, share=0.3, samples=20, baseline=0.4),
        toy.expected(reference.faithfulness_correlation, sets_of(members, size), empty),
    )
    patches = patch_of_each_cell(size, 9)
    members = random_subsets(cells, cells // 2, 6, None)[:, patches]
    assert_close(
        mu_fidelity(toy, toy.inputs, toy.maps, grid=9, share=0.5, samples=6, baseline=0.4),
        toy.expected(reference.mu_fidelity, sets_of(members, size), empty),
    )
    assert_close(
        single_deletion(toy, toy.inputs, toy.maps, grid=2, baseline=0.4),
        toy.expected(reference.single_deletion, 2, empty),
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("perturb", [removed_squares(0.4), gaussian_noise(0.3)])
@twin_of("infidelity")
def test_infidelity_is_what_loops_over_the_same_perturbations_give(
    size: tuple[int, ...], scaled: bool, perturb
) -> None:
    toy = ToyScore(*size)
    result = infidelity(toy, toy.inputs, toy.maps, perturb=perturb, samples=40, scaled=scaled)
    wanted = []
    for row in range(2):
        taken = perturb(toy.inputs[row], 40, torch.Generator().manual_seed(0)).double().numpy()
        image, map_ = toy.inputs[row].double().numpy(), toy.maps[row].double().numpy()
        wanted.append(reference.infidelity(toy.of(row), image, map_, taken, scaled))
    assert_close(result, torch.tensor(wanted, dtype=torch.float32), rtol=1e-4, atol=1e-6)


def test_the_map_of_a_linear_model_predicts_it_without_rest() -> None:
    toy, maps = linear(6, 6)
    for size in (1, 5, 35):
        assert_close(sensitivity_n(toy, toy.inputs, maps, size=size), torch.ones(2))
    assert_close(faithfulness_correlation(toy, toy.inputs, maps), torch.ones(2))
    assert_close(mu_fidelity(toy, toy.inputs, maps, grid=3), torch.ones(2))
    assert_close(single_deletion(toy, toy.inputs, maps), torch.ones(2))
    assert_close(single_deletion(toy, toy.inputs, -maps), -torch.ones(2))
    assert_close(sensitivity_n(toy, toy.inputs, -3 * maps), -torch.ones(2))


def test_infidelity_of_the_true_slope_is_zero_and_the_scale_forgives_the_unit() -> None:
    toy = ToyScore(6, 6, linear=True, softmax=False)
    toy.weights = toy.weights[:, :1].expand(-1, 3, -1, -1)
    slope = toy.weights[:, 0]
    noise = {"perturb": gaussian_noise(1.0)}
    assert_close(infidelity(toy, toy.inputs, slope, scaled=False, **noise), torch.zeros(2), rtol=0, atol=1e-9)
    assert_close(infidelity(toy, toy.inputs, 50 * slope, **noise), torch.zeros(2), rtol=0, atol=1e-9)
    assert (infidelity(toy, toy.inputs, 50 * slope, scaled=False, **noise) > 1).all()


def test_infidelity_by_hand() -> None:
    inputs, maps = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[3.0, 1.0]])

    def perturb(image: Tensor, samples: int, generator: torch.Generator) -> Tensor:
        return torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]])

    def total(inputs: Tensor, row: int) -> Tensor:
        return inputs.flatten(1).sum(dim=1)

    options = {"perturb": perturb, "samples": 2}
    assert_close(infidelity(total, inputs, maps, scaled=False, **options), torch.tensor([(2.0**2 + 0) / 2]))
    scale = (3 * 1 + 2 * 2) / (9 + 4)
    gaps = (scale * 3 - 1) ** 2 + (scale * 2 - 2) ** 2
    assert_close(infidelity(total, inputs, maps, **options), torch.tensor([gaps / 2]))


def test_sets_are_random_of_one_size_and_not_the_hottest_cells_first() -> None:
    members = random_subsets(20, 5, 400, None)
    assert (members.sum(dim=1) == 5).all()
    assert ((members.double().mean(dim=0) - 0.25).abs() < 0.08).all()
    assert len({tuple(one.tolist()) for one in members}) > 380
    assert torch.equal(members, random_subsets(20, 5, 400, None))
    assert not torch.equal(members, random_subsets(20, 5, 400, torch.Generator().manual_seed(9)))


def test_patches_cut_the_picture_evenly() -> None:
    assert patch_of_each_cell((2, 6), 3).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert patch_of_each_cell((5,), 9).tolist() == [0, 1, 2, 3, 4]


def test_squares_are_of_the_size_asked_for_and_reach_every_place() -> None:
    image = torch.ones(2, 8, 12)
    taken = removed_squares(0.25)(image, 300, torch.Generator().manual_seed(0))
    assert (taken.sum(dim=(1, 2, 3)) == 2 * 2 * 3).all()
    assert (taken.sum(dim=0) > 0).all()
    assert ((taken == 0) | (taken == 1)).all()


@pytest.mark.parametrize("metric", [sensitivity_n, faithfulness_correlation, mu_fidelity])
def test_constant_maps_and_scores_that_never_change_are_undefined(metric) -> None:
    toy = ToyScore(4, 4)
    maps = torch.stack([torch.full((4, 4), 0.1), toy.maps[1]])
    assert metric(toy, toy.inputs, maps).isnan().tolist() == [True, False]
    assert toy.asked[0] == 0
    constant = metric(lambda inputs, row: torch.full((len(inputs),), 0.7), toy.inputs, toy.maps)
    assert constant.isnan().all()


def test_infidelity_of_a_constant_map_is_a_number() -> None:
    toy = ToyScore(4, 4)
    maps = torch.stack([torch.full((4, 4), 0.1), torch.zeros(4, 4)])
    perturb = removed_squares()
    result = infidelity(toy, toy.inputs, maps, perturb=perturb, samples=20)
    for row, image in enumerate(toy.inputs):
        taken = perturb(image, 20, torch.Generator().manual_seed(0))
        losses = toy(image[None], row) - toy(image - taken, row)
        foreseen = (taken.sum(dim=1) * maps[row]).flatten(1).sum(dim=1)
        scale = (foreseen * losses).mean() / foreseen.square().mean() if row == 0 else 0.0
        assert_close(result[row], (scale * foreseen - losses).square().mean().to(result), rtol=1e-4, atol=1e-7)
    assert infidelity(toy, toy.inputs, torch.full((2, 4, 4), torch.inf)).isnan().all()


@pytest.mark.parametrize("metric", [metric for metric in ALL if metric is not single_deletion])
def test_an_images_figure_does_not_depend_on_its_neighbours_and_is_seeded(metric) -> None:
    toy = ToyScore(6, 6)
    both = metric(toy, toy.inputs, toy.maps)
    alone = metric(lambda inputs, row: toy(inputs, row + 1), toy.inputs[1:], toy.maps[1:])
    assert_close(both[1:], alone)
    other = metric(toy, toy.inputs, toy.maps, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(both, other)


def test_invalid_options_are_refused() -> None:
    toy = ToyScore(4, 4)
    with refused("argument.invalid", InputError, name="size", value=16):
        sensitivity_n(toy, toy.inputs, toy.maps, size=16)
    with refused("argument.invalid", InputError, name="share", value=1.0):
        faithfulness_correlation(toy, toy.inputs, toy.maps, share=1.0)
    with refused("argument.invalid", InputError, name="samples", value=1):
        mu_fidelity(toy, toy.inputs, toy.maps, samples=1)
    with refused("perturb.shape", InputError, shape=(3, 4, 4)):
        infidelity(toy, toy.inputs, toy.maps, perturb=lambda image, samples, generator: image)
    with refused("maps.shape", InputError, shape=(2, 2, 4)):
        sensitivity_n(toy, toy.inputs, toy.maps[:, :2])
