"""Measures of maps, compared with loops over cells."""

import math

import torch
from torch.testing import assert_close

from camlens.audit.running.measures import map_measures


def test_center_and_peak_match_a_loop_over_cells() -> None:
    maps = torch.randn(20, 5, 7, generator=torch.Generator().manual_seed(0))
    measures = map_measures(maps)
    for row, one in enumerate(maps.tolist()):
        cells = [
            (max(value, 0), (y + 0.5) / 5, (x + 0.5) / 7) for y, line in enumerate(one) for x, value in enumerate(line)
        ]
        total = sum(heat for heat, _, _ in cells)
        assert math.isclose(measures["centre_y"][row], sum(heat * y for heat, y, _ in cells) / total, rel_tol=1e-5)
        assert math.isclose(measures["centre_x"][row], sum(heat * x for heat, _, x in cells) / total, rel_tol=1e-5)
        _, y, x = max(cells)
        assert math.isclose(measures["peak_y"][row], y, rel_tol=1e-6)
        assert math.isclose(measures["peak_x"][row], x, rel_tol=1e-6)


def test_a_single_hot_cell_has_its_center_and_peak_there() -> None:
    maps = torch.zeros(1, 7, 7)
    maps[0, 6, 6] = 3.0
    measures = {name: float(value) for name, value in map_measures(maps, torch.ones(1, 7, 7)).items()}
    place = 6.5 / 7
    wanted = {"centre_y": place, "centre_x": place, "peak_y": place, "peak_x": place, "spread": 0.0, "entropy": 0.0}
    wanted |= {"border_energy": 1.0, "corner_energy": 1.0, "inside_energy": 1.0}
    assert {name: round(value, 5) for name, value in measures.items()} == {
        name: round(value, 5) for name, value in wanted.items()
    }


def test_inside_energy_weights_cells_by_their_share_on_the_object() -> None:
    maps = torch.tensor([[[1.0, 3.0], [-5.0, 0.0]]]).expand(2, 2, 2)
    inside = torch.tensor([[[1.0, 0.5], [1.0, 1.0]], [[torch.nan] * 2] * 2])
    assert_close(map_measures(maps, inside)["inside_energy"], torch.tensor([0.625, torch.nan]), equal_nan=True)
    assert map_measures(maps)["inside_energy"].isnan().all()


def test_measures_of_empty_or_non_finite_maps_are_nan() -> None:
    maps = torch.stack([torch.zeros(3, 3), -torch.ones(3, 3), torch.full((3, 3), torch.nan), torch.ones(3, 3)])
    for name, values in map_measures(maps, torch.ones(4, 3, 3)).items():
        assert values.isnan().tolist() == [True, True, True, False], name
