import math
from pathlib import Path

import numpy as np
import pytest
import torch

from camlens.audit.findings.attention import (
    distribution,
    even_share,
    leans,
    map_parts,
    mean_maps,
    peaks,
    quantiles,
    superiority,
)
from camlens.audit.findings.outcomes import Outcomes, outcomes_of
from camlens.metrics.complexity import corner_energy
from tests.audit.fake import fake_run


def judged(right: list[bool | None]) -> Outcomes:
    label = np.array([-1 if answer is None else 0 for answer in right])
    predicted = np.array([1 if answer is False else 0 for answer in right])
    return Outcomes(label, predicted, np.full(len(right), 0.5))


def test_a_distribution_counts_images_by_group() -> None:
    values = np.array([0.05, 0.15, 0.15, 0.95, 1.2, np.nan, 0.5], np.float32)
    by_group = distribution(values, judged([True, True, False, False, False, True, None]), bins=10)
    assert np.nonzero(by_group.counts["correct"])[0].tolist() == [0, 1]
    assert by_group.counts["incorrect"][[1, 9]].tolist() == [1, 2]
    assert by_group.counts["unlabelled"].sum() == by_group.counts["unlabelled"][5] == 1
    assert by_group.means["correct"] == pytest.approx(0.1)
    assert by_group.superiority == pytest.approx((0.5 + 1 + 1 + 1 + 1 + 1) / 6)


def test_superiority_matches_a_loop_over_pairs() -> None:
    random = np.random.default_rng(0)
    first, second = random.integers(0, 6, 30).astype(np.float32), random.integers(1, 7, 20).astype(np.float32)
    pairs = (first[:, None] > second).mean() + (first[:, None] == second).mean() / 2
    assert superiority(first, second) == pytest.approx(pairs)
    assert math.isnan(superiority(first, second[:0]))


def test_superiority_is_nan_without_labels() -> None:
    by_group = distribution(np.array([0.2, 0.4]), judged([None, None]))
    assert math.isnan(by_group.superiority)
    assert math.isnan(by_group.means["correct"])
    assert by_group.means["unlabelled"] == pytest.approx(0.3)


def test_quantiles_are_those_of_each_class() -> None:
    random = np.random.default_rng(0)
    values, classes = random.random(50), random.integers(-1, 3, 50)
    values[7] = np.nan
    points = quantiles(values, classes, 4)
    for index in range(3):
        members = values[(classes == index) & np.isfinite(values)]
        np.testing.assert_allclose(points[index], np.quantile(members, [0.1, 0.25, 0.5, 0.75, 0.9]))
    assert np.isnan(points[3]).all()


def test_a_class_that_relies_on_corners_is_detected() -> None:
    random = np.random.default_rng(0)
    values = np.concatenate(
        [random.normal(0.6, 0.05, 40), random.normal(0.06, 0.02, 200), random.normal(0.1, 0.02, 40)]
    )
    classes = np.array([2] * 40 + [0] * 200 + [1] * 40)
    (found,) = leans(values, classes, 4, measure="corner_energy", grid=(7, 7))
    assert (found.index, found.images, found.measure) == (2, 40, "corner_energy")
    assert found.mean == pytest.approx(values[:40].mean())
    assert found.others == pytest.approx(values[40:].mean())
    error = math.sqrt(values[:40].var() / 40 + values[40:].var() / 240)
    assert found.deviations == pytest.approx((found.mean - found.others) / error)


def listed(values: np.ndarray, classes: np.ndarray, grid: tuple[int, int] = (7, 7)) -> list[int]:
    return [lean.index for lean in leans(values, classes, 3, measure="corner_energy", grid=grid)]


def test_few_images_and_chance_are_not_findings() -> None:
    random = np.random.default_rng(0)
    assert listed(random.random(90), np.repeat([0, 1, 2], 30)) == []
    values = np.concatenate([random.normal(0.9, 0.01, 20), random.normal(0.1, 0.01, 50)])
    assert listed(values, np.array([1] * 20 + [0] * 50)) == [1]
    assert listed(values[1:], np.array([1] * 19 + [0] * 50)) == []  # 19 images are too few
    assert listed(values, np.zeros(70, np.int64)) == []
    assert listed(np.full(70, np.nan), np.zeros(70, np.int64)) == []


def test_the_edge_is_compared_with_a_uniform_map_on_the_same_grid() -> None:
    assert even_share("corner_energy", (7, 7)) == pytest.approx(4 / 49)
    assert even_share("corner_energy", (8, 8)) == pytest.approx(16 / 64)
    assert even_share("border_energy", (7, 7)) == pytest.approx(24 / 49)
    random = np.random.default_rng(0)
    values = np.concatenate([random.normal(0.2, 0.01, 30), random.normal(0.05, 0.01, 50)])
    classes = np.array([2] * 30 + [0] * 50)
    assert listed(values, classes, (7, 7)) == [2]
    assert listed(values, classes, (8, 8)) == []  # less than a uniform map has


def test_peaks_are_counted_by_cell() -> None:
    down, across = np.array([0.0, 0.99, 1.0, np.nan, 0.6]), np.array([0.0, 0.1, 0.1, 0.5, 0.6])
    counts = peaks(down, across, np.array([True, True, True, True, False]), cells=(2, 2))
    assert counts.tolist() == [[1, 0], [2, 0]]


def test_a_mean_map_is_the_mean_of_maps_with_sum_one() -> None:
    maps = np.zeros((5, 2, 2))
    maps[0, 0, 0], maps[1, 1, 1], maps[2, 0, 1] = 5, 0.1, 2
    maps[1, 0, 0], maps[3] = -7, np.nan  # neither negative evidence nor empty maps count
    means = mean_maps([(maps[:2], np.array([0, 0])), (maps[2:], np.array([1, 0, 0]))], 3, (2, 2))
    assert means.counts.tolist() == [2, 1, 0]
    np.testing.assert_allclose(means.maps[0], [[0.5, 0], [0, 0.5]])
    np.testing.assert_allclose(means.maps[1], [[0, 1], [0, 0]])
    assert np.isnan(means.maps[2]).all()


@pytest.mark.parametrize("side", [(7, 7), (16, 16), (5, 9), (2, 3)])
def test_the_corners_of_a_mean_map_sum_to_the_mean_corner_energy(side: tuple[int, int]) -> None:
    maps = np.random.default_rng(0).uniform(-0.2, 1, size=(12, *side))
    corners = mean_maps([(maps, np.zeros(12, np.int64))], 1, side).corners(0)
    assert sum(corners.values()) == pytest.approx(corner_energy(torch.from_numpy(maps)).mean().item(), rel=1e-5)


def test_corners_are_named_by_position() -> None:
    maps = np.zeros((1, 5, 5))
    maps[0, 4, 4], maps[0, 0, 4] = 3, 1
    corners = mean_maps([(maps, np.array([0]))], 1, (5, 5)).corners(0)
    assert corners == {"upper left": 0, "upper right": 0.25, "lower left": 0, "lower right": 0.75}


def test_maps_are_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = fake_run(tmp_path, [0, 1, 2, 0, -1], [0, 1, 2, 1, -1])
    whole = mean_maps(map_parts(run, outcomes_of(run).predicted), 3, run.grid)
    monkeypatch.setattr("camlens.audit.findings.attention._AT_ONCE", 2)
    parts = list(map_parts(run, outcomes_of(run).predicted))
    assert [len(maps) for maps, _ in parts] == [2, 2, 1]
    np.testing.assert_allclose(mean_maps(parts, 3, run.grid).maps, whole.maps, rtol=1e-6)
    assert whole.counts.tolist() == [1, 2, 1]
