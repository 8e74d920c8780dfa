from collections.abc import Sequence

import numpy as np
import pytest

from camlens.core.errors import DataError
from camlens.studio.images import confused, drawn, fitting
from camlens.studio.predictions import UNREADABLE, Predictions


def modulo_three(numbers: Sequence[int]) -> list[tuple[int, float]]:
    if 5 in numbers:
        raise DataError("5 cannot be read")
    if 4 in numbers and len(numbers) > 1:
        raise RuntimeError("a model may raise anything")
    return [(number % 3, 0.5 + number / 100) for number in numbers]


@pytest.fixture
def predictions() -> Predictions:
    filled = Predictions(np.array([0, 1, 2, 0, 0, 0, 1, 1, -1], dtype=np.int32), modulo_three)
    while filled.step():
        pass
    return filled


def test_an_unreadable_image_affects_no_other(predictions: Predictions) -> None:
    np.testing.assert_array_equal(predictions.classes, [0, 1, 2, 0, 1, UNREADABLE, 0, 1, 2])
    assert predictions.finished


def test_correctness_is_judged_if_the_label_is_known(predictions: Predictions) -> None:
    np.testing.assert_array_equal(fitting(predictions, "correct"), [0, 1, 2, 3, 7])
    np.testing.assert_array_equal(fitting(predictions, "incorrect"), [4, 6])
    np.testing.assert_array_equal(fitting(predictions, "incorrect", label=0, prediction=1), [4])
    np.testing.assert_array_equal(fitting(predictions, "all", label=1), [1, 6, 7])


def test_accepted_classes_count_as_correct() -> None:
    labels = np.array([0, 0, 2, -1], dtype=np.int32)
    predictions = Predictions(labels, lambda numbers: [(1, 0.9) for _ in numbers], {0: {1, 2}})
    while predictions.step():
        pass
    np.testing.assert_array_equal(fitting(predictions, "correct"), [0])
    np.testing.assert_array_equal(fitting(predictions, "incorrect"), [1, 2])
    assert confused(predictions, 3, limit=5) == [(0, 1, 1), (2, 1, 1)]


def test_pairs_are_counted_most_frequent_first() -> None:
    labels = np.array([0, 0, 1, 2, 2, 2], dtype=np.int32)
    filled = Predictions(labels, lambda numbers: [(1, 0.9) for _ in numbers])
    while filled.step():
        pass
    assert confused(filled, 3, limit=5) == [(2, 1, 3), (0, 1, 2)]


def test_wanted_images_are_predicted_first() -> None:
    asked: list[int] = []

    def predict(numbers: Sequence[int]) -> list[tuple[int, float]]:
        asked.extend(numbers)
        return [(0, 1.0) for _ in numbers]

    filled = Predictions(np.zeros(1000, dtype=np.int32), predict)
    filled.want([977, 3])
    filled.step()
    assert asked[:2] == [977, 3]
    while filled.step():
        pass
    assert sorted(asked) == list(range(1000))


def test_draws_are_reproducible_and_without_replacement() -> None:
    numbers = np.arange(500)
    assert drawn(numbers, 20, 7) == drawn(numbers, 20, 7)
    assert drawn(numbers, 20, 7) != drawn(numbers, 20, 8)
    assert len(set(drawn(numbers, 20, 7))) == 20
    assert sorted(drawn(np.arange(3), 20, 0)) == [0, 1, 2]
