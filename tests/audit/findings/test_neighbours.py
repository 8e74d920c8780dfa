import math

import numpy as np
import pytest

from camlens.audit.findings import neighbours
from camlens.audit.findings.neighbours import Territory, nearest, unit, usable


def some(n: int = 60, d: int = 5, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(n, d)))


def test_features_are_scaled_to_unit_length_and_invalid_rows_are_nan() -> None:
    directions = unit(np.array([[3.0, 4.0], [0.0, 0.0], [np.inf, 1.0], [np.nan, 1.0]], np.float16))
    np.testing.assert_allclose(directions[0], [0.6, 0.8], rtol=1e-6)
    assert np.isnan(directions[1:]).all()
    assert usable(directions).tolist() == [True, False, False, False]
    assert directions.dtype == np.float32


@pytest.mark.parametrize("at_once", [7, 60, 1000])
def test_neighbors_match_all_distances_sorted(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", at_once)
    directions = some()
    directions[[4, 9]] = np.nan
    queries = np.array([0, 4, 31, 59])
    rows, distances = nearest(directions, queries, 6)
    for place, query in enumerate(queries):
        every = np.linalg.norm(directions - directions[query], axis=1)
        every[query] = np.nan
        wanted = np.argsort(np.where(np.isnan(every), np.inf, every), kind="stable")[:6]
        if query == 4:
            assert rows[place].tolist() == [-1] * 6
            assert np.isnan(distances[place]).all()
        else:
            assert rows[place].tolist() == wanted.tolist()
            np.testing.assert_allclose(distances[place], every[wanted], atol=1e-3)


@pytest.mark.parametrize("at_once", [2, 100])
def test_ties_are_in_the_order_of_the_run(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "_AT_ONCE", at_once)
    directions = unit(np.array([[1.0, 0.0]] * 7 + [[0.0, 1.0]]))
    assert nearest(directions, np.array([3]), 4)[0].tolist() == [[0, 1, 2, 4]]


def test_only_candidates_are_neighbors() -> None:
    directions = some(5)
    rows, distances = nearest(directions, np.array([0]), 3, candidates=np.array([True, False, False, True, False]))
    assert rows.tolist() == [[3, -1, -1]]
    assert np.isnan(distances[0, 1:]).all()


def test_a_territory_has_the_mean_of_correct_images_and_their_distances() -> None:
    directions = unit(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.0]]))
    label = np.array([0, 0, 0, 1])
    territory = Territory.of(directions, label, np.array([True, True, False, False]), 3)
    np.testing.assert_allclose(territory.centres[0], [0.5, 0.5])
    assert np.isnan(territory.centres[1:]).all()
    np.testing.assert_allclose(territory.strays[0], [math.sqrt(0.5)] * 2, rtol=1e-6)
    distance = territory.distance(directions, np.array([2, 3, 3]), np.array([0, 0, 1]))
    np.testing.assert_allclose(distance[:2], [math.sqrt(0.5) * (math.sqrt(2) - 1), math.hypot(1.5, 0.5)], rtol=1e-5)
    assert math.isnan(distance[2])
    assert (territory.farther_than(1.0, 0), territory.farther_than(0.1, 0)) == (1.0, 0.0)
    assert math.isnan(territory.farther_than(1.0, 1))
