"""Complexity against loops over cells, and at the ends of each scale."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.complexity import (
    border_energy,
    complexity,
    corner_energy,
    effective_complexity,
    entropy,
    sparseness,
    spread,
)
from tests.metrics import reference
from tests.refusals import refused
from tests.twins import twin_of

ALL = [sparseness, entropy, complexity, effective_complexity, border_energy, corner_energy, spread]


def drawn(*size: int) -> Tensor:
    return torch.randn(3, *size, generator=torch.Generator().manual_seed(0))


def spot(*place: int, size: tuple[int, ...] = (10, 10)) -> Tensor:
    maps = torch.zeros(1, *size)
    maps[(0, *place)] = 0.7
    return maps


@pytest.mark.parametrize("size", [(8,), (6, 11), (3, 5, 4)])
@twin_of("sparseness", "entropy", "effective_complexity", "border_energy", "corner_energy", "spread", "complexity")
def test_complexity_is_what_loops_over_cells_give(size: tuple[int, ...]) -> None:
    maps = drawn(*size)

    def wanted(compute, *options: float, of: Tensor = maps) -> Tensor:
        return torch.tensor([compute(one, *options) for one in of.double().numpy()], dtype=torch.float32)

    assert_close(sparseness(maps), wanted(reference.sparseness))
    assert_close(entropy(maps), wanted(reference.entropy))
    assert_close(effective_complexity(maps, threshold=0.3), wanted(reference.effective_complexity, 0.3))
    assert_close(border_energy(maps), wanted(reference.border_energy, 0.1))
    assert_close(corner_energy(maps, width=0.3), wanted(reference.corner_energy, 0.3))
    assert_close(spread(maps), wanted(reference.spread))
    heatmaps = maps.sigmoid()
    assert_close(complexity(heatmaps), wanted(reference.complexity, of=heatmaps))


def test_one_hot_cell_is_as_simple_as_can_be() -> None:
    maps = spot(4, 4)
    assert_close(sparseness(maps), torch.tensor([0.99]))
    assert entropy(maps).tolist() == [0]
    assert_close(complexity(maps), torch.tensor([0.007]))
    assert_close(effective_complexity(maps), torch.tensor([0.01]))
    assert spread(maps).tolist() == [0]


def test_an_even_map_is_as_complex_as_can_be() -> None:
    maps = torch.ones(1, 10, 10)
    assert_close(sparseness(maps), torch.tensor([0.0]))
    for metric in (entropy, complexity, effective_complexity, spread):
        assert_close(metric(maps), torch.tensor([1.0]))
    assert_close(border_energy(maps), torch.tensor([0.36]))
    assert_close(corner_energy(maps), torch.tensor([0.16]))


def test_the_rim_and_the_corners_are_where_they_should_be() -> None:
    places = [(0, 5), (9, 5), (5, 0), (5, 9), (1, 5), (0, 0), (1, 1), (8, 9), (2, 2)]
    maps = torch.cat([spot(*place) for place in places])
    assert border_energy(maps).tolist() == [1, 1, 1, 1, 0, 1, 0, 1, 0]
    assert corner_energy(maps).tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 0]


def test_the_gini_index_of_a_ramp_is_a_third() -> None:
    ramp = torch.arange(1.0, 1001)[None]
    assert_close(sparseness(ramp), torch.tensor([(1000 - 1) / (3 * 1000)]))


def test_entropy_over_ln_n_does_not_grow_with_the_resolution() -> None:
    half = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    assert_close(entropy(half), torch.tensor([math.log(2) / math.log(4)]))
    even = [entropy(torch.ones(1, side, side)) for side in (4, 8, 16)]
    assert_close(torch.cat(even), torch.ones(3))


def test_figures_do_not_depend_on_the_unit_of_the_map() -> None:
    maps = drawn(6, 6)
    for metric in (sparseness, entropy, effective_complexity, border_energy, corner_energy, spread):
        assert_close(metric(maps * 1e-6), metric(maps))


@pytest.mark.parametrize("metric", ALL)
def test_zero_and_nan_maps_give_nan(metric) -> None:
    nothing = torch.stack([torch.zeros(4, 4), torch.full((4, 4), float("nan"))])
    assert metric(nothing).isnan().all()
    with refused("maps.shape", InputError, shape=(1, 0, 4)):
        metric(torch.zeros(1, 0, 4))


def test_a_map_of_one_cell_has_no_entropy() -> None:
    assert entropy(torch.ones(1, 1)).isnan().all()
    assert spread(torch.ones(1, 1)).isnan().all()


def test_signed_maps_are_refused_as_heat_maps() -> None:
    with refused("heatmaps.range", InputError):
        complexity(drawn(3, 3))
    with refused("argument.invalid", InputError, name="width", value=0.5):
        border_energy(drawn(3, 3), width=0.5)
