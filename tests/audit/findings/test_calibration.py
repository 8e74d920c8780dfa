import math

import numpy as np
import pytest

from camlens.audit.findings.calibration import calibration
from camlens.audit.findings.outcomes import Outcomes


def judged(confidence: list[float], right: list[bool]) -> Outcomes:
    label = np.zeros(len(right), np.int64)
    return Outcomes(label, np.where(right, 0, 1).astype(np.int64), np.array(confidence, np.float64))


def test_the_error_is_the_one_worked_out_by_hand() -> None:
    found = calibration(judged([0.15, 0.12, 0.95, 0.85, 0.9], [False, True, True, True, False]), bins=10)
    # bins: (0.1, 0.2] 2 images, accuracy 1/2, confidence 0.135; (0.8, 0.9] 2 images, 1/2, 0.875; (0.9, 1] 1, 1, 0.95
    assert found.counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 2, 1]
    np.testing.assert_allclose(found.accuracy[[1, 8, 9]], [0.5, 0.5, 1.0])
    np.testing.assert_allclose(found.confidence[[1, 8, 9]], [0.135, 0.875, 0.95])
    assert found.ece == pytest.approx((2 * 0.365 + 2 * 0.375 + 1 * 0.05) / 5)
    assert found.mce == pytest.approx(0.375)
    assert found.overconfidence == pytest.approx((0.15 + 0.12 + 0.95 + 0.85 + 0.9) / 5 - 3 / 5)
    assert math.isnan(found.accuracy[0])


def test_a_model_that_is_as_right_as_it_says_has_no_error() -> None:
    found = calibration(judged([0.75] * 4, [True, True, True, False]), bins=4)
    assert (found.ece, found.mce, found.accuracy_at(0.6)) == (0, 0, (0.75, 4))


def test_an_upper_edge_belongs_to_its_bin_and_zero_to_the_first() -> None:
    assert calibration(judged([0.0, 0.5, 1.0], [True] * 3), bins=2).counts.tolist() == [2, 1]


def test_images_without_a_label_or_a_prediction_do_not_count() -> None:
    found = Outcomes(np.array([-1, 0, 0]), np.array([0, -1, 0]), np.array([0.9, np.nan, 0.4]))
    assert calibration(found).counts.sum() == 1


def test_nothing_judged_gives_not_a_number_and_null_in_json() -> None:
    found = calibration(judged([], []))
    assert math.isnan(found.ece)
    assert math.isnan(found.overconfidence)
    assert math.isnan(found.ece)
    assert np.isnan(found.accuracy).all()
