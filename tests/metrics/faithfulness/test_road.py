"""ROAD: the imputation against a dense solve, exact shares in spite of ties, and seeds."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.faithfulness import imputed, road_combined, road_lerf, road_morf, road_scores
from tests.metrics import reference
from tests.metrics.toy import ToyScore
from tests.refusals import refused
from tests.twins import twin_of

ALL = [road_morf, road_lerf, road_combined]
NO_NOISE = {"noise": 0.0}


def mostly_zero(toy: ToyScore) -> Tensor:
    """Maps of which 60 % are exactly zero."""
    flat = toy.maps.flatten(1)
    edge = flat.quantile(0.6, dim=1, keepdim=True)
    return flat.where(flat > edge, 0).view(toy.maps.shape)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_imputation_is_the_solution_of_the_dense_system(share: float) -> None:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randn(3, 2, 8, 9, generator=draw).double() + 2
    removed = torch.rand(3, 8, 9, generator=draw) < share
    result = imputed(pictures, removed, noise=0.0, tolerance=1e-12)
    wanted = np.stack([reference.imputed(p.numpy(), r.numpy()) for p, r in zip(pictures, removed, strict=True)])
    assert_close(result, torch.from_numpy(wanted), rtol=1e-9, atol=1e-9)
    single = imputed(pictures.float(), removed, noise=0.0)
    assert_close(single, torch.from_numpy(wanted).float(), rtol=0, atol=1e-3)


def test_a_large_hole_is_filled_as_well() -> None:
    rows, columns = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    ramp = ((rows + 2 * columns) / 64)[None, None]
    removed = torch.zeros(1, 64, 64, dtype=torch.bool)
    removed[0, 4:60, 4:60] = True
    assert_close(imputed(ramp, removed, noise=0.0), ramp, rtol=0, atol=2e-3)


def test_imputation_by_hand_is_the_weighted_mean_of_the_neighbors() -> None:
    picture = torch.zeros(1, 1, 3, 3)
    picture[0, 0, 0, 0], picture[0, 0, 0, 1], picture[0, 0, 1, 1] = 12, 6, 99
    removed = torch.zeros(1, 3, 3, dtype=torch.bool)
    removed[0, 1, 1] = True
    assert_close(imputed(picture, removed, noise=0.0)[0, 0, 1, 1], torch.tensor(12 / 12 + 6 / 6))
    removed = torch.zeros(1, 3, 3, dtype=torch.bool)
    removed[0, 0, 0] = True
    corner = imputed(picture, removed, noise=0.0)[0, 0, 0, 0]
    assert_close(corner, torch.tensor((6 / 6 + 0 / 6 + 99 / 12) / (1 / 6 + 1 / 6 + 1 / 12)))


def test_kept_pixels_are_unchanged_and_the_noise_is_seeded_with_the_given_deviation() -> None:
    pictures = torch.randn(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    removed = torch.rand(2, 40, 40, generator=torch.Generator().manual_seed(1)) < 0.5
    plain = imputed(pictures, removed, noise=0.0)
    first, second = (imputed(pictures, removed, noise=0.1) for _ in range(2))
    assert torch.equal(first, second)
    gone = removed[:, None].expand_as(pictures)
    assert torch.equal(first[~gone], pictures[~gone])
    assert 0.09 < float((first - plain)[gone].std()) < 0.11
    other = imputed(pictures, removed, noise=0.1, generator=torch.Generator().manual_seed(5))
    assert not torch.equal(first, other)


def test_an_even_picture_stays_even_also_where_it_is_zero() -> None:
    for level in (0.0, 3.0):
        pictures = torch.full((1, 2, 6, 6), level)
        removed = torch.ones(1, 6, 6, dtype=torch.bool)
        removed[0, 2, 3] = False
        assert_close(imputed(pictures, removed, noise=0.0), pictures)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("softmax", [True, False])
@twin_of("road_morf", "road_lerf", "road_combined")
def test_figures_are_those_of_dense_systems_one_by_one(metric, softmax: bool) -> None:
    toy = ToyScore(6, 7, softmax=softmax)
    shares = (0.2, 0.5, 0.9)
    result = metric(toy, toy.inputs, toy.maps, shares=shares, noise=0.0)
    wanted = toy.expected(getattr(reference, metric.__name__), shares)
    assert_close(result, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("order", ["most", "least"])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_exactly_the_share_asked_for_is_removed_although_the_map_is_mostly_zero(order: str, share: float) -> None:
    toy = ToyScore(10, 10)
    removed = []

    def score(inputs: Tensor, row: int) -> Tensor:
        removed.append((inputs != toy.inputs[row]).any(dim=1).sum(dim=(1, 2)))
        return toy(inputs, row)

    road_scores(score, toy.inputs, mostly_zero(toy), order=order, shares=[share])
    assert torch.cat(removed).tolist() == [100 * share] * 2


@pytest.mark.parametrize("metric", ALL)
def test_two_calls_give_the_same_figure_and_leave_all_random_state_alone(metric) -> None:
    toy = ToyScore(8, 8)
    maps, state = mostly_zero(toy), torch.get_rng_state()
    first = metric(toy, toy.inputs, maps)
    torch.rand(1)
    torch.set_rng_state(state)
    assert torch.equal(first, metric(toy, toy.inputs, maps))
    assert torch.equal(torch.get_rng_state(), state)
    seeded = metric(toy, toy.inputs, maps, generator=torch.Generator().manual_seed(7))
    assert not torch.equal(first, seeded)


@pytest.mark.parametrize("metric", ALL)
def test_the_result_of_an_image_does_not_depend_on_the_batch(metric) -> None:
    toy = ToyScore(8, 8)
    both = metric(toy, toy.inputs, mostly_zero(toy))
    alone = metric(lambda inputs, row: toy(inputs, row + 1), toy.inputs[1:], mostly_zero(toy)[1:])
    assert_close(both[1:], alone)


def test_the_combined_figure_tells_the_right_map_from_its_opposite() -> None:
    inputs = torch.zeros(1, 3, 12, 12)
    inputs[0, :, 4:7, 4:7] = 1
    maps = inputs[:, 0] + torch.rand(1, 12, 12, generator=torch.Generator().manual_seed(0)) / 10

    def brightness(inputs: Tensor, row: int) -> Tensor:
        return inputs[:, :, 4:7, 4:7].flatten(1).mean(dim=1)

    right = road_combined(brightness, inputs, maps)
    assert 0.3 < float(right) <= 0.5
    assert_close(road_combined(brightness, inputs, -maps), -right, rtol=0, atol=0.02)
    gap = road_lerf(brightness, inputs, maps) - road_morf(brightness, inputs, maps)
    assert_close(right, gap / 2)


@pytest.mark.parametrize("metric", ALL)
def test_a_constant_map_has_no_order_and_the_model_is_not_asked(metric) -> None:
    toy = ToyScore(4, 4)
    maps = torch.stack([torch.ones(4, 4), toy.maps[1]])
    assert metric(toy, toy.inputs, maps).isnan().tolist() == [True, False]
    assert toy.asked[0] == 0


def test_invalid_shares_and_inputs_are_refused() -> None:
    toy = ToyScore(4, 4)
    for shares in ([0.0], [1.0], [50.0]):
        with refused("argument.invalid", InputError, name="shares", value=shares[0]):
            road_morf(toy, toy.inputs, toy.maps, shares=shares)
    with refused("argument.empty", InputError, name="shares"):
        road_morf(toy, toy.inputs, toy.maps, shares=[])
    with refused("input.all-removed", InputError):
        imputed(toy.inputs, torch.ones(2, 4, 4, dtype=torch.bool))
    with refused("maps.shape", InputError, shape=(2, 2, 4)):
        road_morf(toy, toy.inputs, toy.maps[:, :2])
