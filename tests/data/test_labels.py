"""Tests of matching labels of the data with classes of the model, in the audit and the studio."""

import pytest

from camlens.data.labels import translated
from camlens.studio.images import labels_of

MODEL = ["great white shark", "Tabby_cat", "crane", "crane", "dog"]
FASHION = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot"]


def test_names_match_regardless_of_case_spaces_and_order() -> None:
    translation = translated(["dog", "tabby cat", "Great_White  shark"], MODEL)
    assert (translation.classes, translation.how, translation.problem) == ((4, 1, 0), "by name", None)
    assert translation(2) == 0
    assert translation(None) is None


def test_a_folder_with_an_underscore_is_the_same_class_in_audit_and_studio() -> None:
    assert translated(["sports_car", "truck"], ["truck", "sports car"]).classes == (1, 0)
    labels = labels_of([0, 1, None], ["sports_car", "truck"], ["truck", "sports car"])
    assert (labels.indices.tolist(), labels.problem) == ([1, 0, -1], None)


def test_one_renamed_folder_of_ten_is_reported_and_not_matched_by_place() -> None:
    renamed = sorted("ankle boot" if name == "boot" else name for name in FASHION)
    translation = translated(renamed, FASHION)
    assert translation.problem is not None
    assert translation.problem.code == "labels.unmatched"
    assert translation.problem.facts["unmatched"] == ["ankle boot"]
    assert [translation(label) for label in range(10)].count(None) == 1
    assert translated(renamed, FASHION, by="place").classes == tuple(range(10))
    labels = labels_of(list(range(10)), renamed, FASHION)
    assert labels.indices.tolist() == [-1 if name == "ankle boot" else FASHION.index(name) for name in renamed]
    assert "ankle boot" in str(labels.problem)


def test_equally_many_classes_with_other_names_are_matched_by_place() -> None:
    translation = translated(["n01", "n02", "n03", "n04", "n05"], MODEL)
    assert (translation.classes, translation.how) == ((0, 1, 2, 3, 4), "by place")
    asked = translated(["n01", "n02", "n03", "n04", "n05"], MODEL, by="name").problem
    assert asked is not None
    assert asked.code == "labels.unmatched"
    assert labels_of([1, 0], ["n01", "n02"], ["cat", "dog"]).indices.tolist() == [1, 0]


def test_numbered_classes_are_matched_by_place() -> None:
    translation = translated(["class 0", "class 1", "class 2"], MODEL)
    assert (translation.classes, translation.how) == ((0, 1, 2), "by place")
    assert translated(["class 0", "class 1"], ["class 0", "class 1"]).how == "by place"


@pytest.mark.parametrize(
    ("names", "by", "code"),
    [
        (["dog", "wolf"], None, "labels.unmatched"),
        (["dog", "crane"], None, "labels.ambiguous"),
        ([f"class {place}" for place in range(6)], None, "labels.unmatched"),
        (["x", "y", "z", "u", "v", "w"], "place", "labels.too-many"),
    ],
)
def test_classes_unknown_to_the_model_are_reported(names: list[str], by: None, code: str) -> None:
    problem = translated(names, MODEL, by=by).problem
    assert problem is not None
    assert problem.code == code


def test_unlabeled_images_and_a_single_class_are_reported() -> None:
    assert translated([], MODEL).how == "none"
    assert "no labels" in str(labels_of([None, None], [], ["cat"]).problem)
    assert "one class" in str(labels_of([0, 0], ["cat"], ["cat", "dog"]).problem)
