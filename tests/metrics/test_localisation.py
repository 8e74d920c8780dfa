"""Localisation against loops over cells, by hand, and where peers count nothing as a hit."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from camlens import METHODS, explain
from camlens.core.errors import InputError
from camlens.metrics.localisation import (
    energy_inside,
    grid_pointing_game,
    grown,
    intersection_over_union,
    pixel_average_precision,
    pointing_game,
    relevance_rank_accuracy,
    top_k_intersection,
)
from tests.metrics import reference
from tests.nets import images, seeded
from tests.refusals import refused
from tests.twins import twin_of

NAN = float("nan")
ALL = [
    pointing_game,
    energy_inside,
    relevance_rank_accuracy,
    lambda maps, masks: top_k_intersection(maps, masks, k=2),
    intersection_over_union,
    pixel_average_precision,
]
LEFT = torch.tensor([[[True, False], [True, False]]])


def drawn(*size: int, images: int = 4, levels: int | None = None) -> tuple[Tensor, Tensor]:
    """Random signed maps, of few different values if asked for, and random masks."""
    draw = torch.Generator().manual_seed(0)
    maps = torch.randn(images, *size, generator=draw)
    if levels is not None:
        maps = (maps * levels).round() / levels
    return maps, torch.rand(images, *size, generator=draw) < 0.4


def expected(compute, maps: Tensor, masks: Tensor, *options: object) -> Tensor:
    pairs = zip(maps.double().numpy(), masks.numpy(), strict=True)
    return torch.tensor([compute(*pair, *options) for pair in pairs], dtype=torch.float32)


@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 3)])
@pytest.mark.parametrize("levels", [None, 1])
@twin_of("pointing_game", "energy_inside", "pixel_average_precision", "intersection_over_union")
def test_localisation_is_what_loops_over_cells_give(size: tuple[int, ...], levels: int | None) -> None:
    maps, masks = drawn(*size, levels=levels)
    assert_close(pointing_game(maps, masks), expected(reference.pointing_game, maps, masks))
    assert_close(pointing_game(maps, masks, tolerance=1), expected(reference.pointing_game, maps, masks, 1))
    assert_close(energy_inside(maps, masks), expected(reference.energy_inside, maps, masks))
    assert_close(pixel_average_precision(maps, masks), expected(reference.pixel_average_precision, maps, masks))
    assert_close(
        intersection_over_union(maps, masks, threshold=0.3),
        expected(reference.intersection_over_union, maps, masks, 0.3),
    )


@pytest.mark.parametrize("levels", [None, 1])
@twin_of("relevance_rank_accuracy", "top_k_intersection")
def test_ranks_are_means_over_all_orders_of_tied_cells(levels: int | None) -> None:
    maps, masks = drawn(2, 4, levels=levels)
    wanted = expected(reference.relevance_rank_accuracy, maps, masks)
    assert_close(relevance_rank_accuracy(maps, masks), wanted)
    for k in (1, 3, 8):
        wanted = expected(reference.top_k_intersection, maps, masks, k)
        assert_close(top_k_intersection(maps, masks, k=k), wanted)


def test_figures_of_a_small_map_are_those_found_by_hand() -> None:
    maps = torch.tensor([[[0.6, 0.3], [-0.5, 0.1]]])
    assert pointing_game(maps, LEFT).tolist() == [1]
    assert_close(energy_inside(maps, LEFT), torch.tensor([0.6]))
    assert_close(relevance_rank_accuracy(maps, LEFT), torch.tensor([0.5]))
    assert_close(intersection_over_union(maps, LEFT), torch.tensor([1 / 3]))
    assert_close(pixel_average_precision(maps, LEFT), torch.tensor([0.5 * 1 + 0.5 * 0.5]))


def test_average_precision_is_that_of_scikit_learn() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    maps, masks = drawn(9, 9, levels=2)
    wanted = [metrics.average_precision_score(m.ravel(), a.ravel()) for a, m in zip(maps, masks, strict=True)]
    assert_close(pixel_average_precision(maps, masks), torch.tensor(wanted, dtype=torch.float32))


@pytest.mark.parametrize("metric", ALL)
def test_an_empty_mask_is_not_a_hit(metric) -> None:
    maps, masks = drawn(3, 3, images=2)
    masks[0] = False
    result = metric(maps.abs(), masks)
    assert result[0].isnan()
    assert result[1].isfinite()


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("value", [0.0, 1.0, NAN, float("inf")])
def test_a_map_that_says_nothing_is_not_a_hit(metric, value: float) -> None:
    constant = torch.full((1, 2, 2), value)
    assert metric(constant, LEFT).isnan().all()
    broken = torch.tensor([[[1.0, 0.5], [0.2, NAN]]])
    assert metric(broken, LEFT).isnan().all()


def test_tied_maxima_count_by_the_share_that_hits() -> None:
    maps = torch.tensor([[[1.0, 1.0], [1.0, 0.0]]])
    assert_close(pointing_game(maps, LEFT), torch.tensor([2 / 3]))


def test_pointing_tolerance_is_euclidean_and_crosses_no_border() -> None:
    maps = torch.zeros(1, 40, 40)
    maps[0, 20, 20] = 1
    for place, distance in [((20, 35), 15), ((29, 32), 15), ((31, 31), 16), ((20, 36), 16)]:
        masks = torch.zeros(1, 40, 40, dtype=torch.bool)
        masks[(0, *place)] = True
        assert pointing_game(maps, masks, tolerance=15).tolist() == [float(distance <= 15)], place
    far = torch.zeros(1, 4, 6, dtype=torch.bool)
    far[0, 0, 5] = True
    assert grown(far, 1)[0].int().tolist() == [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 1], [0] * 6, [0] * 6]


def test_energy_ignores_negative_evidence_and_is_not_min_maxed() -> None:
    maps = torch.tensor([[[3.0, 1.0], [-5.0, -9.0]]])
    assert_close(energy_inside(maps, LEFT), torch.tensor([0.75]))
    assert energy_inside(-maps.abs() - 1, LEFT).isnan().all()


def test_a_map_of_negative_evidence_has_no_hot_region() -> None:
    assert intersection_over_union(torch.tensor([[[-1.0, -2.0], [-3.0, -4.0]]]), LEFT).isnan().all()


def test_one_channel_of_map_is_enough_for_colour_images_and_no_input_is_changed() -> None:
    maps, masks = drawn(4, 4)
    kept = maps.clone(), masks.clone()
    for metric in ALL:
        assert metric(maps, masks).shape == (4,)
    assert torch.equal(maps, kept[0])
    assert torch.equal(masks, kept[1])


@pytest.mark.parametrize("metric", ALL)
def test_masks_of_another_size_or_number_are_refused(metric) -> None:
    maps = torch.rand(2, 4, 4)
    for size in [(1, 4, 4), (2, 4, 5), (4, 4)]:
        with refused("masks.shape", InputError, shape=size, maps=(2, 4, 4)):
            metric(maps, torch.ones(size, dtype=torch.bool))


def test_invalid_options_are_refused() -> None:
    maps, masks = drawn(3, 3)
    with pytest.raises(InputError) as caught:
        top_k_intersection(maps, masks, k=10)
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "k", "value": 10})
    with pytest.raises(InputError) as caught:
        top_k_intersection(maps, masks, k=0)
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "k", "value": 0})
    with pytest.raises(InputError) as caught:
        intersection_over_union(maps, masks, threshold=1.0)
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "threshold", "value": 1.0})
    with pytest.raises(InputError) as caught:
        pointing_game(maps, masks, tolerance=-1)
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "tolerance", "value": -1})


def test_half_precision_maps_are_read_exactly() -> None:
    maps, masks = drawn(4, 4, levels=4)
    assert_close(energy_inside(maps.bfloat16(), masks), energy_inside(maps, masks))
    assert np.isfinite(energy_inside(maps, masks).numpy()).all()


@pytest.mark.parametrize("size", [(7,), (5, 6), (3, 4, 3)])
@twin_of("grid_pointing_game")
def test_the_grid_pointing_game_is_what_loops_over_cells_give(size: tuple[int, ...]) -> None:
    maps, _ = drawn(*size)
    cells = torch.tensor([0, 1, 1, 0])
    wanted = [
        reference.grid_pointing_game(map_.double().numpy(), int(cell), 2)
        for map_, cell in zip(maps, cells, strict=True)
    ]
    assert_close(grid_pointing_game(maps, cells), torch.tensor(wanted, dtype=torch.float32))
    even = torch.ones(4, *[6] * len(size))
    even[:, 0] += 1e-6  # constant maps have no value
    assert_close(grid_pointing_game(even, cells), torch.full((4,), 0.5 ** len(size)), rtol=1e-5, atol=0)
    assert grid_pointing_game(-maps.abs(), cells).isnan().all()
    with refused("argument.invalid", InputError, name="cells"):
        grid_pointing_game(maps, cells + 2 ** len(size) - 1)


class OneHeadPerCell(nn.Module):
    """Sees the four images of a grid separately, and reads each class from one of them (DiFull)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.grid = nn.Identity()
        self.heads = nn.Parameter(torch.randn(4, 6))

    def forward(self, inputs: Tensor) -> Tensor:
        rows = [
            torch.cat([self.conv(image).relu() for image in row.chunk(2, dim=3)], dim=3)
            for row in inputs.chunk(2, dim=2)
        ]
        features = self.grid(torch.cat(rows, dim=2))
        cells = [cell for row in features.chunk(2, dim=2) for cell in row.chunk(2, dim=3)]
        pooled = torch.stack([cell.square().mean(dim=(2, 3)) for cell in cells], dim=1)
        return (pooled * self.heads).sum(dim=2)


@pytest.mark.parametrize("method", ["layercam", "hirescam", "gradientxinput", "saliency"])
def test_local_methods_win_the_grid_pointing_game_if_cells_are_seen_alone(method: str) -> None:
    model, inputs = seeded(OneHeadPerCell), images(n=4, size=(12, 12))
    cells = torch.arange(4)
    layers = None if METHODS[method].scope == "input" else "grid"
    explanation = explain(model, inputs, method=method, layers=layers, target=cells.tolist())
    values = grid_pointing_game(explanation.maps[explanation.layers[0]][:, 0], cells)
    assert_close(values[values.isfinite()], torch.ones(int(values.isfinite().sum())))
    assert values.isfinite().any()
