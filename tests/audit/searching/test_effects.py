"""Differences of paired proportions and Holm's correction."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from camlens.audit.shortcuts.effects import paired_effect
from camlens.trust.comparing import holm


def pairs(first: int, second: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return hits and controls of which `first` and `second` pairs differ."""
    hits, controls = np.zeros(count, bool), np.zeros(count, bool)
    hits[:first] = True
    controls[first : first + second] = True
    return hits, controls


def slow_p(first: int, second: int, count: int, margin: float) -> float:
    """The score test with the restricted estimate found by maximizing the likelihood numerically."""

    def loss(rare: float) -> float:
        common = rare + margin
        rest = max(1 - common - rare, 1e-300)
        return -(
            first * math.log(max(common, 1e-300))
            + second * math.log(max(rare, 1e-300))
            + (count - first - second) * math.log(rest)
        )

    rare = minimize_scalar(loss, bounds=(0, (1 - margin) / 2), method="bounded", options={"xatol": 1e-12}).x
    variance = count * (2 * rare + margin * (1 - margin))
    return float(norm.sf((first - second - count * margin) / math.sqrt(variance)))


@pytest.mark.parametrize(("first", "second", "count"), [(12, 3, 40), (5, 5, 20), (30, 1, 60), (2, 9, 33)])
@pytest.mark.parametrize("margin", [0.05, 0.3])
def test_p_value_is_that_of_the_score_test(first: int, second: int, count: int, margin: float) -> None:
    effect = paired_effect(*pairs(first, second, count), margin=margin)
    assert effect.p == pytest.approx(slow_p(first, second, count, margin), rel=1e-3)
    assert effect.value == (first - second) / count
    assert effect.images == count


def test_without_a_margin_it_is_mcnemars_test() -> None:
    assert paired_effect(*pairs(14, 4, 50), margin=0.0).p == pytest.approx(norm.sf(10 / math.sqrt(18)))


@pytest.mark.parametrize(("first", "second", "count"), [(12, 3, 40), (0, 0, 10), (10, 0, 10), (0, 7, 7)])
def test_bounds_of_the_interval_are_rejected_at_five_percent(first: int, second: int, count: int) -> None:
    effect = paired_effect(*pairs(first, second, count), margin=0.05)
    assert -1 <= effect.low <= effect.value <= effect.high <= 1
    if effect.low > 0:
        assert paired_effect(*pairs(first, second, count), margin=effect.low).p == pytest.approx(0.025, rel=1e-3)


def test_holm_multiplies_by_the_number_of_remaining_tests() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.5])), [0.04, 0.09, 0.09, 0.5])
    assert len(holm(np.zeros(0))) == 0
