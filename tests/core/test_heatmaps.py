"""From signed maps to what is drawn: rectified heat maps, and evidence for and against around zero."""

import pytest
import torch

from camlens.core.heatmaps import balanced, normalized, rectified, resized


def test_a_small_map_is_divided_by_its_highest_magnitude() -> None:
    maps = torch.tensor([[[[-4.0, 0.0, 2.0]], [[1.0, 1.0, 0.5]]]])
    assert balanced(maps).tolist() == [[[[-1.0, 0.0, 0.5]], [[1.0, 1.0, 0.5]]]]


def test_one_cell_in_200_may_lie_beyond_the_scale() -> None:
    values = torch.tensor([(place % 5) - 2.0 for place in range(400)])
    values[7], values[9] = -100.0, 50.0
    drawn = balanced(values.view(1, 1, 20, 20)).flatten()
    assert (drawn[7], drawn[9]) == (-1, 1)
    assert drawn[10:15].tolist() == [-1, -0.5, 0, 0.5, 1]


def test_an_empty_map_stays_empty_and_a_lonely_spot_gets_its_own_scale() -> None:
    assert balanced(torch.zeros(1, 1, 30, 30)).abs().max() == 0
    lonely = torch.zeros(1, 1, 30, 30)
    lonely[0, 0, 3, 4] = -0.01
    assert balanced(lonely).min() == -1


def test_zero_stays_zero_and_signs_stay_when_evidence_is_enlarged() -> None:
    maps = torch.tensor([[[[-2.0, 0.0, 1.0]]]])
    wide = resized(balanced(maps), (1, 9))[0, 0, 0]
    assert wide[[0, 4, 8]].tolist() == pytest.approx([-1, 0, 0.5])
    assert (wide[:4] < 0).all()
    assert (wide[5:] > 0).all()


def test_a_map_with_an_infinite_value_is_empty_and_not_half_of_nothing() -> None:
    maps = torch.tensor([[[[1.0, 2.0], [torch.inf, 0.0]]]])
    assert not normalized(rectified(maps)).any()
