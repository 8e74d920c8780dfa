"""Corrected p-values, McNemar's test and the interval of a paired difference."""

import itertools
import math
from fractions import Fraction
from statistics import NormalDist

import numpy as np
import pytest

from camlens.audit.findings.significance import mann_whitney, mcnemar, paired_interval
from camlens.trust.comparing import holm


def test_holm_multiplies_the_smallest_by_the_number_of_tests_and_so_on() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_is_the_two_sided_binomial_test_of_the_discordant_images() -> None:
    for fixed, broken in itertools.product(range(7), repeat=2):
        total, few = fixed + broken, min(fixed, broken)
        tail = sum(Fraction(math.comb(total, hits), 2**total) for hits in range(few + 1))
        assert mcnemar(fixed, broken) == pytest.approx(min(1.0, float(2 * tail)), rel=1e-12)
    assert mcnemar(9_000, 9_400) == pytest.approx(0.00329, rel=0.01)  # normal approximation with continuity correction
    assert 0 <= mcnemar(0, 50_000) < 1e-300


def test_mann_whitney_counts_pairs() -> None:
    draw = np.random.default_rng(2)
    first, second = draw.integers(0, 5, 30).astype(np.float32), draw.integers(1, 6, 40).astype(np.float32)  # with ties
    higher = sum(float(a > b) + 0.5 * float(a == b) for a in first for b in second)
    total = 70
    ties = sum(count**3 - count for count in np.unique([*first, *second], return_counts=True)[1].tolist())
    variance = 30 * 40 / 12 * (total + 1 - ties / (total * (total - 1)))
    z = (higher - 30 * 40 / 2) / variance**0.5
    assert mann_whitney(first, second) == pytest.approx(2 * NormalDist().cdf(-abs(z)), rel=1e-6)
    assert mann_whitney(second, first) == pytest.approx(mann_whitney(first, second))
    assert mann_whitney(first, first[:0]) == mann_whitney(np.ones(9), np.ones(5)) == 1.0


def test_mann_whitney_is_rarely_significant_without_a_difference() -> None:
    draw = np.random.default_rng(3)
    trials = 500
    significant = np.mean([mann_whitney(draw.random(20), draw.random(100)) < 0.05 for _ in range(trials)])
    assert significant < 0.05 + 3 * (0.05 * 0.95 / trials) ** 0.5


def test_the_paired_interval_is_the_one_that_newcombe_published() -> None:
    # table II of the paper, method 10: (a, b, c, d) with difference (b - c) / n
    assert paired_interval(36, 12, 2, 0) == pytest.approx((0.0569, 0.3404), abs=1e-4)
    assert paired_interval(0, 0, 0, 0) == (-1.0, 1.0)


def test_the_paired_interval_is_antisymmetric_and_contains_the_difference() -> None:
    draw = np.random.default_rng(0)
    for counts in draw.integers(0, 30, (200, 4)).tolist():
        both, fixed, broken, neither = counts
        low, high = paired_interval(both, fixed, broken, neither)
        assert (-high, -low) == pytest.approx(paired_interval(both, broken, fixed, neither))
        assert -1 <= low <= (fixed - broken) / sum(counts) <= high <= 1


def test_the_paired_interval_covers_the_true_difference() -> None:
    draw = np.random.default_rng(1)
    chances, trials = np.array([0.7, 0.15, 0.08, 0.07]), 400
    intervals = [paired_interval(*draw.multinomial(80, chances).tolist()) for _ in range(trials)]
    covered = np.mean([low <= chances[1] - chances[2] <= high for low, high in intervals])
    assert covered > 0.95 - 3 * (0.05 * 0.95 / trials) ** 0.5
