import math

import numpy as np
import pytest

from camlens.audit.findings.errors import (
    Pair,
    Share,
    accuracy,
    confused_pairs,
    confusion,
    per_class,
    select,
    stratified,
    wilson,
)
from camlens.audit.findings.outcomes import Outcomes


def outcomes(label: list[int], predicted: list[int], confidence: list[float] | None = None) -> Outcomes:
    sure = np.linspace(0.9, 0.5, len(label)) if confidence is None else np.array(confidence)
    names = ("cat", "dog", "fish")
    return Outcomes(np.array(label, np.int64), np.array(predicted, np.int64), sure.astype(np.float32), names)


# two cats are correct, one is predicted as dog, one failed; of two dogs one is correct; one image has no label
EXAMPLE = ([0, 0, 0, 0, 1, 1, -1], [0, 0, 1, -1, 1, 2, 2])


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [
        (5, 10, 0.236593, 0.763407),  # closed form with z = 1.959964, calculated by hand
        (0, 10, 0.0, 0.277533),  # z² / (n + z²)
        (10, 10, 0.722467, 1.0),
        (81, 263, 0.255289, 0.366210),
        (0, 0, 0.0, 1.0),
    ],
)
def test_wilson_intervals_are_those_of_the_closed_form(hits: int, total: int, low: float, high: float) -> None:
    np.testing.assert_allclose(wilson(hits, total), (low, high), atol=2e-6)


def test_accuracy_counts_only_images_with_a_label_and_a_prediction() -> None:
    assert accuracy(outcomes(*EXAMPLE)) == Share(3, 5)
    assert outcomes(*EXAMPLE).failed.sum() == 1


def test_confusion_has_true_classes_in_rows() -> None:
    np.testing.assert_array_equal(confusion(outcomes(*EXAMPLE)), [[2, 1, 0], [0, 1, 1], [0, 0, 0]])


def test_precision_and_recall_of_each_class() -> None:
    cat, dog, fish = per_class(outcomes(*EXAMPLE))
    assert (cat.precision, cat.recall, cat.f1) == (Share(2, 2), Share(2, 3), 4 / 5)
    assert (dog.precision, dog.recall, dog.f1) == (Share(1, 2), Share(1, 2), 1 / 2)
    assert (fish.precision, fish.recall, fish.f1) == (Share(0, 1), Share(0, 0), 0)
    assert math.isnan(fish.recall.value)
    assert fish.name == "fish"


def test_a_class_without_a_name_is_named_by_its_index() -> None:
    judged = outcomes([0, 4], [4, 4])
    assert (judged.classes, judged.name(4), judged.name(1)) == (5, "class 4", "dog")
    assert confusion(judged)[0, 4] == 1


def test_confusions_are_sorted_by_frequency() -> None:
    matrix = np.array([[5, 1, 4], [1, 1, 0], [0, 0, 3]])
    assert confused_pairs(matrix) == [Pair(0, 2, 4, 0.4), Pair(0, 1, 1, 0.1), Pair(1, 0, 1, 0.5)]
    assert confused_pairs(matrix, most=1) == [Pair(0, 2, 4, 0.4)]


def test_select_filters_and_sorts_by_confidence() -> None:
    judged = outcomes(*EXAMPLE, confidence=[0.6, 0.9, 0.7, np.nan, 0.8, 0.5, 0.99])
    assert select(judged).tolist() == [6, 1, 4, 2, 0, 5]
    assert select(judged, true=0).tolist() == [1, 2, 0]
    assert select(judged, predicted=2).tolist() == [6, 5]
    assert select(judged, correct=False).tolist() == [2, 5]
    assert select(judged, correct=True, confidence=(0.65, 0.85)).tolist() == [4]


def test_equally_confident_images_are_in_the_order_of_the_run() -> None:
    assert select(outcomes([0] * 4, [1] * 4, [0.5, 0.7, 0.5, 0.7])).tolist() == [1, 3, 0, 2]


def test_confusions_take_turns() -> None:
    label, predicted = [0] * 50 + [1] * 3 + [2], [1] * 50 + [2] * 3 + [0]
    confidence = [0.01 * row for row in range(50)] + [0.3, 0.9, 0.6] + [0.2]
    selected = stratified(outcomes(label, predicted, confidence), most=7, per_pair=4)
    assert {pair: rows.tolist() for pair, rows in selected.items()} == {
        (0, 1): [49, 48, 47],
        (1, 2): [51, 52, 50],
        (2, 0): [53],
    }


def test_a_small_budget_goes_to_the_most_frequent_confusions() -> None:
    selected = stratified(outcomes([0, 0, 1, 2], [1, 1, 2, 0]), most=2)
    assert list(selected) == [(0, 1), (1, 2)]
    assert [len(rows) for rows in selected.values()] == [1, 1]


def test_the_number_of_errors_per_confusion_is_bounded() -> None:
    selected = stratified(outcomes([0] * 9, [1] * 9), most=100, per_pair=4)
    assert selected[0, 1].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("label", "predicted", "right"),
    [
        ([], [], (0, 0)),
        ([-1, -1], [0, 1], (0, 0)),
        ([0, 1], [0, 1], (2, 2)),
        ([0, 1], [1, 0], (0, 2)),
        ([0, 0], [0, 0], (2, 2)),
        ([0, 1], [-1, -1], (0, 0)),
    ],
    ids=["nothing", "no labels", "all right", "all wrong", "one class", "all failed"],
)
def test_edge_cases_have_an_accuracy_and_a_selection(
    label: list[int], predicted: list[int], right: tuple[int, int]
) -> None:
    judged = outcomes(label, predicted)
    assert accuracy(judged) == Share(*right)
    assert sum(map(len, stratified(judged).values())) == right[1] - right[0]
    assert confusion(judged).sum() == right[1]
    assert 0 <= accuracy(judged).low <= accuracy(judged).high <= 1
