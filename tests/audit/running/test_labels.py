"""Claims about how labels of the data become classes of the model."""

import pytest

from camlens import DataError
from camlens.audit.running.labels import translated

MODEL = ["great white shark", "Tabby_cat", "crane", "crane", "dog"]


def test_names_are_found_whatever_their_case_and_order() -> None:
    found = translated(["dog", "tabby cat", "Great_White  shark"], MODEL)
    assert (found.classes, found.how) == ((4, 1, 0), "by name")
    assert found(2) == 0
    assert found(None) is None


def test_as_many_classes_with_other_names_are_taken_by_place() -> None:
    found = translated(["n01", "n02", "n03", "n04", "n05"], MODEL)
    assert (found.classes, found.how) == ((0, 1, 2, 3, 4), "by place")


def test_numbers_are_the_model_s_numbers() -> None:
    found = translated(["class 0", "class 1", "class 2"], MODEL)
    assert (found.classes, found.how) == ((0, 1, 2), "by place")
    assert translated(["class 0", "class 1"], ["class 0", "class 1"]).how == "by place"


def test_what_cannot_be_told_is_refused_with_the_names() -> None:
    with pytest.raises(DataError, match="the data has 2 classes and the model 5, and the model knows no wolf"):
        translated(["dog", "wolf"], MODEL)
    with pytest.raises(DataError, match="several classes of the model have the same name"):
        translated(["dog", "crane"], MODEL)
    with pytest.raises(DataError, match="6 classes"):
        translated([f"class {place}" for place in range(6)], MODEL)


def test_unlabelled_data_needs_no_translation() -> None:
    assert translated([], MODEL).how == "none"
