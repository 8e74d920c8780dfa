"""Harmonic means by hand, and where a part is zero, missing or in per cent."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from camlens.core.errors import InputError
from camlens.metrics.combined import adcc, arcc
from tests.metrics import reference
from tests.twins import twin_of


def figures(*values: float) -> Tensor:
    return torch.tensor(values)


@twin_of("adcc", "arcc")
def test_the_combined_figures_are_the_papers_formulas() -> None:
    parts = torch.rand(3, 5, generator=torch.Generator().manual_seed(0)).double()
    assert_close(adcc(*parts), figures(*(reference.adcc(*one) for one in parts.T.tolist())))
    parts[2] -= 0.5
    assert_close(arcc(*parts), figures(*(reference.arcc(*one) for one in parts.T.tolist())))


def test_adcc_by_hand_is_harmonic_and_not_the_arithmetic_mean() -> None:
    assert_close(adcc(figures(1.0), figures(0.5), figures(0.75)), figures(3 / (1 + 2 + 4)))


def test_a_part_of_zero_makes_the_whole_zero_without_a_division_by_it() -> None:
    zero = figures(0.0, 1.0, 1.0)
    assert adcc(zero, figures(0.0, 1.0, 0.0), figures(0.0, 0.0, 1.0)).tolist() == [0, 0, 0]
    assert arcc(figures(1.0), figures(0.0), figures(-0.2)).tolist() == [0]


def test_arcc_holds_twice_the_road_figure_to_one() -> None:
    assert_close(arcc(figures(1.0, 1.0), figures(0.0, 0.0), figures(0.25, 0.9)), figures(3 / (1 + 1 + 2), 1.0))


def test_an_undefined_part_makes_the_whole_undefined_also_beside_a_zero() -> None:
    nan = figures(float("nan"), float("nan"))
    assert adcc(nan, figures(0.5, 0.5), figures(0.5, 1.0)).isnan().all()
    assert arcc(figures(0.5, 0.0), figures(0.5, 0.5), nan).isnan().all()


def test_per_cent_are_refused() -> None:
    with pytest.raises(InputError) as caught:
        adcc(figures(0.5), figures(0.5), figures(30.0))
    assert (caught.value.code, caught.value.facts) == ("argument.invalid", {"name": "average_drop"})
