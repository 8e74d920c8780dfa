"""Tests of paired results keep their level, and agree with SciPy."""

import numpy as np
import pytest

from camlens.trust.comparing import bootstrap_means, interval, signed_rank


def test_the_signed_rank_test_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    draw = np.random.default_rng(0)
    for shift in (0.0, 0.3, 0.8):
        differences = draw.normal(shift, 1, size=25)
        wanted = stats.wilcoxon(differences, method="exact").pvalue
        assert signed_rank(differences, seed=1) == pytest.approx(wanted, abs=4 * np.sqrt(wanted / 9999) + 1e-4)


def test_p_values_without_a_difference_are_uniform() -> None:
    draw = np.random.default_rng(2)
    p_values = np.array([signed_rank(draw.normal(size=12), seed=3) for _ in range(200)])
    for level in (0.1, 0.3, 0.5):
        assert abs((p_values <= level).mean() - level) < 3.5 * np.sqrt(level * (1 - level) / 200)


def test_zeros_and_ties_count() -> None:
    assert signed_rank(np.zeros(9), seed=0) == 1.0
    # of 8 equally likely patterns of signs, 2 are as extreme
    assert signed_rank(np.array([1.0, 1, 1, 0, 0]), seed=0) == pytest.approx(0.25, abs=0.03)


def test_bootstrap_intervals_hold_the_mean_as_often_as_stated() -> None:
    draw = np.random.default_rng(4)
    hits = 0
    for number in range(100):
        low, high = interval(bootstrap_means(draw.normal(size=(1, 60)), seed=number)[:, 0])
        hits += low <= 0 <= high
    assert hits >= 85
