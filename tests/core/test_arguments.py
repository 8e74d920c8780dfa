"""Checks of counts and strengths."""

import pytest

from camlens.core.arguments import checked_count, checked_strength
from camlens.core.errors import InputError
from tests.refusals import refused


def test_valid_values_are_returned() -> None:
    assert checked_count("samples", 3) == 3
    assert checked_strength("noise", 0) == 0
    assert checked_strength("noise", 0.25) == 0.25


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None])
def test_a_count_is_an_int_of_at_least_one(value: object) -> None:
    with refused("argument.invalid", InputError, name="samples", value=value):
        checked_count("samples", value)


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "1", None])
def test_a_strength_is_a_finite_number_of_at_least_zero(value: object) -> None:
    with refused("argument.invalid", InputError, name="noise", value=value):
        checked_strength("noise", value)
