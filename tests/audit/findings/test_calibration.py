import math

import numpy as np
import pytest

from camlens.audit.findings.calibration import calibration
from camlens.audit.findings.outcomes import Outcomes


def judged(confidence: list[float], right: list[bool]) -> Outcomes:
    label = np.zeros(len(right), np.int64)
    return Outcomes(label, np.where(right, 0, 1).astype(np.int64), np.array(confidence, np.float64))


def test_the_calibration_error_matches_a_calculation_by_hand() -> None:
    calibrated = calibration(judged([0.15, 0.12, 0.95, 0.85, 0.9], [False, True, True, True, False]), bins=10)
    # bins: (0.1, 0.2] 2 images, accuracy 1/2, confidence 0.135; (0.8, 0.9] 2 images, 1/2, 0.875; (0.9, 1] 1, 1, 0.95
    assert calibrated.counts.tolist() == [0, 2, 0, 0, 0, 0, 0, 0, 2, 1]
    np.testing.assert_allclose(calibrated.accuracy[[1, 8, 9]], [0.5, 0.5, 1.0])
    np.testing.assert_allclose(calibrated.confidence[[1, 8, 9]], [0.135, 0.875, 0.95])
    assert calibrated.ece == pytest.approx((2 * 0.365 + 2 * 0.375 + 1 * 0.05) / 5)
    assert calibrated.mce == pytest.approx(0.375)
    assert calibrated.overconfidence == pytest.approx((0.15 + 0.12 + 0.95 + 0.85 + 0.9) / 5 - 3 / 5)
    assert math.isnan(calibrated.accuracy[0])


def test_a_calibrated_model_has_no_error() -> None:
    calibrated = calibration(judged([0.75] * 4, [True, True, True, False]), bins=4)
    assert (calibrated.ece, calibrated.mce, calibrated.accuracy_at(0.6)) == (0, 0, (0.75, 4))


def test_bins_include_their_upper_edge() -> None:
    assert calibration(judged([0.0, 0.5, 1.0], [True] * 3), bins=2).counts.tolist() == [2, 1]


def test_images_without_a_label_or_a_prediction_do_not_count() -> None:
    judged_outcomes = Outcomes(np.array([-1, 0, 0]), np.array([0, -1, 0]), np.array([0.9, np.nan, 0.4]))
    assert calibration(judged_outcomes).counts.sum() == 1


def test_the_error_is_nan_without_labels() -> None:
    calibrated = calibration(judged([], []))
    assert math.isnan(calibrated.ece)
    assert math.isnan(calibrated.overconfidence)
    assert np.isnan(calibrated.accuracy).all()
