"""Verdicts hold with the stated probability, and are refused where they would not."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from camlens import Calibration, InputError, StoreError, calibrate, explain, load_model
from camlens.data import DemoPhotos
from camlens.targets import TopK
from camlens.trust.certifying import binomial_tail, certified, least_images
from tests.nets import images, plain_cnn, seeded
from tests.refusals import refused

ALPHA, DELTA = 0.1, 0.1


def failing_chance(margins: Tensor) -> Tensor:
    """The chance that a map fails, by its margin in [0, 1]; that of all maps above a threshold t is 0.15 (1 - t)."""
    return 0.3 * (1 - margins)


def test_the_guarantee_holds_and_selections_are_large() -> None:
    generator = torch.Generator().manual_seed(0)
    broken, risks, shares = 0, [], []
    for _ in range(400):
        margins = torch.rand(600, generator=generator, dtype=torch.float64)
        faithful = torch.rand(600, generator=generator, dtype=torch.float64) >= failing_chance(margins)
        selection = certified(margins, faithful, ALPHA, DELTA)
        if selection is None:
            continue
        threshold = max(selection.threshold, 0)
        risks.append(0.15 * (1 - threshold))
        shares.append(1 - threshold)
        broken += risks[-1] > ALPHA
    assert broken / 400 <= DELTA
    assert len(risks) > 300
    assert 0.03 < np.mean(risks) < ALPHA
    assert np.mean(shares) > 0.2


def test_maps_that_fail_at_random_are_hardly_ever_certified() -> None:
    generator = torch.Generator().manual_seed(1)
    certain = 0
    for _ in range(400):
        margins = torch.rand(100, generator=generator, dtype=torch.float64)
        faithful = torch.rand(100, generator=generator) < 0.85
        certain += certified(margins, faithful, ALPHA, DELTA) is not None
    assert certain / 400 <= DELTA


def test_the_largest_certified_selection_is_returned_with_its_counts() -> None:
    margins, faithful = torch.arange(100.0), torch.ones(100, dtype=torch.bool)
    selection = certified(margins, faithful, ALPHA, DELTA)
    assert selection is not None
    assert (selection.threshold, selection.selected, selection.failing) == (-math.inf, 100, 0)
    faithful[:40] = False
    selection = certified(margins, faithful, ALPHA, DELTA)
    assert selection is not None
    assert (selection.threshold, selection.selected, selection.failing) == (39.0, 60, 0)
    assert certified(margins, ~faithful, ALPHA, DELTA) is None


@pytest.mark.parametrize(("alpha", "delta", "needed"), [(0.1, 0.1, 38), (0.2, 0.1, 18), (0.05, 0.05, 90)])
def test_fewer_images_than_needed_certify_nothing_even_without_a_failure(
    alpha: float, delta: float, needed: int
) -> None:
    assert least_images(alpha, delta) == needed
    for count, certain in ((needed - 1, False), (needed, True)):
        perfect = torch.ones(count, dtype=torch.bool)
        assert (certified(torch.arange(float(count)), perfect, alpha, delta) is not None) is certain


def test_the_binomial_tail_is_the_sum_of_its_terms() -> None:
    for count, chance in ((7, 0.3), (40, 0.1)):
        for successes in range(count + 1):
            terms = [math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(successes + 1)]
            assert binomial_tail(successes, count, chance) == pytest.approx(sum(terms), rel=1e-9)


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(load_model("demo:photos"), pictures(), alpha=0.3, delta=0.3)


def pictures(count: int = 12) -> Iterator[np.ndarray]:
    photos = DemoPhotos(split="test", seed=0)
    return (photos[index].image for index in range(count))


def test_maps_of_the_demo_model_are_called_faithful(calibration: Calibration) -> None:
    loaded = load_model("demo:photos")
    assert calibration.images == 12
    assert calibration.faithful >= 8
    explanation = explain(loaded, list(pictures(3)), target=TopK(2))
    verdicts = calibration.verdicts(explanation)
    assert [len(row) for row in verdicts] == [2] * 3
    assert all(
        verdict.code == ("faithful" if verdict.margin > calibration.threshold else "no-verdict")
        for verdict, _ in verdicts
    )
    assert all(verdict.code == "no-verdict" and verdict.margin < 0 and verdict.shifted for _, verdict in verdicts)
    assert not any(verdict.shifted for verdict, _ in verdicts)


def test_a_calibration_is_saved_and_loaded(calibration: Calibration, tmp_path: Path) -> None:
    for threshold in (calibration.threshold, -math.inf, math.inf):
        changed = Calibration(**{**vars(calibration), "threshold": threshold})
        assert Calibration.load(changed.save(tmp_path / "file.json", force=True)) == changed
    with refused("output.exists", StoreError):
        calibration.save(tmp_path / "file.json")
    (tmp_path / "other.json").write_text('{"calibration": 1}')
    (tmp_path / "broken.json").write_text("[")
    for name in ("other", "broken", "missing"):
        with refused("calibration.unreadable", StoreError):
            Calibration.load(tmp_path / f"{name}.json")


def test_other_models_methods_layers_and_sizes_are_refused(calibration: Calibration) -> None:
    loaded, picture = load_model("demo:photos"), list(pictures(1))
    for name, options in (("method", {"method": "layercam"}), ("layer", {"layers": "stage3"})):
        with refused("calibration.other", InputError, name=name):
            calibration.verdicts(explain(loaded, picture, **options))  # type: ignore[arg-type]
    with refused("calibration.other", InputError, name="weights"):
        calibration.verdicts(explain(load_model("demo:watermark"), picture))


def test_too_few_images_and_invalid_settings_are_refused() -> None:
    model, inputs = seeded(plain_cnn), images(n=6)
    with refused("calibration.too-few", InputError, images=6, needed=38):
        calibrate(model, inputs, layers="2")
    for name, value in (("alpha", 0.0), ("alpha", 1.0), ("delta", 1.5), ("seed", -1)):
        with refused("argument.invalid", InputError, name=name, value=value):
            calibrate(model, inputs, layers="2", **{name: value})  # type: ignore[arg-type]
    with refused("input.not-a-tensor", InputError):
        calibrate(model, list(pictures(1)), layers="2")
    single = seeded(lambda: nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)))
    with refused("calibration.no-classes", InputError):
        calibrate(single, inputs, layers="0")
