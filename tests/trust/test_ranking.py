"""The permutation tests are exact: p-values of random maps are uniform, and ties count."""

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.trust.ranking import grid_symmetries, permutation_p_values, rank_correlation, symmetry_p_values

MAPS = 1000


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def largest_gap(p_values: Tensor, steps: int) -> float:
    """Kolmogorov-Smirnov distance from the uniform distribution on 1/steps, 2/steps, ..., 1."""
    levels = torch.arange(1, steps + 1) / steps
    shares = (p_values[:, None] <= levels + 1e-6).double().mean(dim=0)
    return float((shares - levels).abs().max())


def test_p_values_of_random_maps_are_uniform() -> None:
    limit = 1.63 / math.sqrt(MAPS)  # 1 in 100 for a continuous distribution, fewer for a discrete one
    maps, effects = draw(MAPS, 16), draw(MAPS, 16, seed=1)
    assert largest_gap(permutation_p_values(maps, effects, 199, seed=2), 200) < limit
    assert largest_gap(symmetry_p_values(maps, effects, 4, 2), 128) < limit


def test_p_values_of_smooth_maps_are_uniform_among_their_symmetries_only() -> None:
    """Neighbors in maps and effects are alike: random permutations are rougher, so that their p-values are too low."""

    def smooth(values: Tensor) -> Tensor:
        grid = values.view(-1, 4, 4)
        return (grid + grid.roll(1, 1) + grid.roll(1, 2) + grid.roll((1, 1), (1, 2))).flatten(1)

    maps, effects = smooth(draw(MAPS, 16)), smooth(draw(MAPS, 16, seed=1))
    limit = 1.63 / math.sqrt(MAPS)
    assert largest_gap(symmetry_p_values(maps, effects, 4, 2), 128) < limit
    assert largest_gap(permutation_p_values(maps, effects, 199, seed=2), 200) > 2 * limit


def test_the_p_value_is_one_plus_the_count_over_one_plus_the_permutations_with_ties() -> None:
    maps, effects = torch.tensor([[0.0, 0, 0, 1]]), torch.tensor([[1.0, 2, 2, 3]])
    (p_value,) = permutation_p_values(maps, effects, 499, seed=3).tolist()
    count = p_value * 500 - 1
    assert count == pytest.approx(round(count), abs=1e-3)
    # 1 in 4 orders of the map has its only hot cell on the largest effect
    assert abs(count / 499 - 1 / 4) < 0.1
    assert permutation_p_values(-maps, effects, 499, seed=3).tolist() == [1.0]


def test_a_perfect_map_has_a_correlation_of_one_and_the_lowest_p_values() -> None:
    effects = draw(1, 16)
    maps = effects.exp()
    assert_close(rank_correlation(maps, effects), torch.ones(1))
    assert_close(permutation_p_values(maps, effects, 999, seed=0), torch.tensor([1 / 1000]))
    assert_close(symmetry_p_values(maps, effects, 4, 2), torch.tensor([1 / 128]))


def test_constant_maps_have_no_p_value() -> None:
    maps, effects = torch.ones(1, 16), draw(1, 16)
    for values in (
        rank_correlation(maps, effects),
        permutation_p_values(maps, effects, 99, seed=0),
        symmetry_p_values(maps, effects, 4, 2),
    ):
        assert values.isnan().all()


@pytest.mark.parametrize(("patches", "axes", "count"), [(4, 1, 8), (4, 2, 128), (2, 2, 8), (3, 3, 27 * 8 * 6)])
def test_symmetries_are_a_group_of_permutations(patches: int, axes: int, count: int) -> None:
    symmetries = grid_symmetries(patches, axes)
    assert symmetries.shape == (count, patches**axes)
    rows = {tuple(row) for row in symmetries.tolist()}
    assert tuple(range(patches**axes)) in rows
    assert all(sorted(row) == list(range(patches**axes)) for row in rows)
    some = sorted(rows)[:: max(1, count // 12)]
    assert all(tuple(first[index] for index in second) in rows for first, second in itertools.product(some, some))
