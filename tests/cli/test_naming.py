"""Tests of class names on the command line and of file names."""

from pathlib import Path

import pytest

from camlens import TargetError
from camlens.cli.naming import class_index, free_stem, split_list
from camlens.core.probabilities import class_name

NAMES = ["crane", "tabby, tabby cat", "crane, lifting machine", "dog", "Egyptian cat", "3"]


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("0", 0),
        ("4", 4),
        ("dog", 3),
        (" DOG ", 3),
        ("tabby cat", 1),
        ("crane", 0),
        ("egyptian CAT", 4),
        ("3", 3),
    ],
)
def test_a_class_is_found_by_index_name_or_synonym(text: str, index: int) -> None:
    assert class_index(text, NAMES) == index


@pytest.mark.parametrize("text", ["6", "-1"])
def test_an_index_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        class_index(text, NAMES)
    assert (caught.value.code, caught.value.facts) == ("target.out-of-range", {"value": int(text), "classes": 6})


@pytest.mark.parametrize(
    ("text", "suggestions"),
    [
        ("taby", ["tabby, tabby cat"]),
        ("cat", ["tabby, tabby cat", "Egyptian cat"]),
        ("machin", ["crane, lifting machine"]),
        ("zebra", []),
    ],
)
def test_an_unknown_class_name_is_refused_with_suggestions(text: str, suggestions: list[str]) -> None:
    with pytest.raises(TargetError) as caught:
        class_index(text, NAMES)
    assert (caught.value.code, caught.value.facts["suggestions"]) == ("target.unknown", suggestions)


def test_an_ambiguous_class_name_is_refused_with_the_candidates() -> None:
    with pytest.raises(TargetError) as caught:
        class_index("bat", ["bat, animal", "bat, club"])
    assert (caught.value.code, caught.value.facts["candidates"]) == ("target.ambiguous", [0, 1])


def test_a_class_without_a_name_is_shown_by_its_index() -> None:
    assert [class_name(index, ["dog"]) for index in (0, 1)] == ["dog", "class 1"]


def test_a_list_is_split_at_commas_but_not_within_a_class_name() -> None:
    assert split_list(" layer2,layer3 ,,layer2") == ["layer2", "layer3"]
    assert split_list("dog,Tabby, tabby cat,4", NAMES) == ["dog", "Tabby, tabby cat", "4"]
    assert split_list("tabby, dog", NAMES) == ["tabby", "dog"]


def test_file_stems_are_unique_regardless_of_case() -> None:
    taken: set[str] = {"manifest"}
    paths = ("a/cat.png", "b/Cat.jpg", "c/cat.bmp", "manifest.png")
    assert [free_stem(Path(path), taken) for path in paths] == ["cat", "Cat-2", "cat-3", "manifest-2"]
