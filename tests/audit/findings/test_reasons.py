import re
from pathlib import Path

import numpy as np
import pytest

from camlens.audit.findings.neighbours import unit
from camlens.audit.findings.outcomes import Outcomes
from camlens.audit.findings.reasons import Reason, Reasoner
from camlens.core.errors import InputError
from tests.audit.fake import fake_run

EAST, NORTH, UP = np.eye(3)


def reasoner(
    directions: np.ndarray,
    label: list[int],
    predicted: list[int],
    confidence: list[float],
    margin: list[float] | None = None,
    corner: list[float] | None = None,
) -> Reasoner:
    random = np.random.default_rng(0)
    spread = unit(directions + random.normal(size=directions.shape) * 0.05)
    outcomes = Outcomes(np.array(label), np.array(predicted), np.array(confidence), ("cat", "dog", "fish"))
    n = len(label)
    return Reasoner.of_arrays(
        outcomes,
        np.array([0.9] * n if margin is None else margin, np.float32),
        np.array([0.1] * n if corner is None else corner, np.float32),
        spread,
        (5, 5),
    )


def crowd(*last: np.ndarray) -> np.ndarray:
    """Return directions of twenty cats, of twenty dogs, and `last`."""
    return np.concatenate([np.tile(EAST, (20, 1)), np.tile(NORTH, (20, 1)), np.stack(last)])


CLASSES = [0] * 20 + [1] * 20


def the(kind: str, reasons: list[Reason]) -> Reason:
    (found,) = [reason for reason in reasons if reason.kind == kind]
    return found


def numbers_in(sentence: str) -> list[str]:
    return re.findall(r"\d+", sentence)


def test_low_confidence_is_compared_with_accuracy() -> None:
    confidence = [0.9] * 37 + [0.47, 0.46, 0.45] + [0.45]
    margin = [0.8] * 40 + [0.05]
    reasons = reasoner(crowd(EAST), [*CLASSES, 0], [*CLASSES, 1], confidence, margin).reasons(40)
    reason = the("unsure", reasons)
    assert reasons[0] is reason
    assert reason.numbers == pytest.approx({"confidence": 0.45, "margin": 0.05, "right": 0.75})
    assert reason.strength == pytest.approx(0.95)
    assert numbers_in(reason.sentence) == ["45", "40", "75", "4"]


def test_a_frequent_confusion_is_a_reason() -> None:
    label, predicted = [*CLASSES, 0, 0, 0, 0], [*CLASSES, 1, 1, 1, 2]
    judge = reasoner(crowd(EAST, EAST, EAST, EAST), label, predicted, [0.7] * 44)
    reason = the("usual_confusion", judge.reasons(40))
    assert numbers_in(reason.sentence) == ["3", "24", "75"]
    assert reason.numbers == pytest.approx({"count": 3, "share": 3 / 24, "part": 0.75})
    assert [reason.kind for reason in judge.reasons(43)] == ["nothing_unusual"]


def test_a_large_distance_from_the_class_is_a_reason() -> None:
    judge = reasoner(crowd(UP), [*CLASSES, 0], [*CLASSES, 1], [0.7] * 41)
    reason = the("far_from_class", judge.reasons(40))
    directions, centres = judge.directions, judge.territory.centres
    np.testing.assert_allclose(centres[0], directions[:20].mean(axis=0), atol=1e-6)
    assert reason.numbers["distance"] == pytest.approx(np.linalg.norm(directions[40] - centres[0]), rel=1e-5)
    assert reason.numbers["other"] == pytest.approx(np.linalg.norm(directions[40] - centres[1]), rel=1e-5)
    assert (reason.numbers["farther"], reason.strength) == (1.0, pytest.approx(0.6))


def test_a_confident_prediction_among_its_class_puts_the_label_in_doubt() -> None:
    judge = reasoner(crowd(NORTH), [*CLASSES, 0], [*CLASSES, 1], [0.98] * 41)
    reason = the("label_in_doubt", judge.reasons(40))
    assert reason.numbers["agreeing"] == 5
    assert numbers_in(reason.sentence) == ["5", "5", "98"]


def test_evidence_in_the_corners_is_compared_with_correct_predictions() -> None:
    corner = [*np.linspace(0.0, 0.2, 40), 0.7]
    judge = reasoner(crowd(EAST), [*CLASSES, 0], [*CLASSES, 1], [0.7] * 41, corner=corner)
    reason = the("looks_elsewhere", judge.reasons(40))
    assert reason.numbers == pytest.approx({"corner_energy": 0.7, "usual": 0.19})
    assert numbers_in(reason.sentence) == ["70", "16", "95", "19"]


def test_an_ordinary_error_has_nothing_unusual() -> None:
    (reason,) = reasoner(crowd(EAST), [*CLASSES, 0], [*CLASSES, 1], [0.7] * 41).reasons(40)
    assert reason.kind == "nothing_unusual"
    assert numbers_in(reason.sentence) == ["70", "1", "21"]


def test_reasons_are_for_errors_only() -> None:
    with pytest.raises(InputError) as caught:
        reasoner(crowd(EAST), [*CLASSES, 0], [*CLASSES, 1], [0.7] * 41).reasons(0)
    assert (caught.value.code, caught.value.facts) == ("row.no-error", {"row": 0})


def test_neighbors_are_the_nearest_correct_predictions() -> None:
    label = [*CLASSES, 0, 0]
    judge = reasoner(crowd(NORTH, NORTH), label, [*CLASSES, 1, 1], [0.7] * 42)
    rows, distances = judge.neighbours(40)
    every = np.linalg.norm(judge.directions[:40] - judge.directions[40], axis=1)
    assert rows.tolist() == np.argsort(every)[:3].tolist()
    np.testing.assert_allclose(distances, np.sort(every)[:3], atol=1e-3)


def test_reasons_exist_without_correct_predictions(tmp_path: Path) -> None:
    judge = Reasoner.of(fake_run(tmp_path, [0, 1, 2, -1, 0], [1, 2, 0, 1, -1], [0.9, 0.8, 0.7, 0.9, 0.0]))
    assert [len(judge.reasons(row)) > 0 for row in (0, 1, 2)] == [True] * 3
    assert judge.neighbours(0)[0].tolist() == []
    for row in (3, 4):
        with pytest.raises(InputError):
            judge.reasons(row)
