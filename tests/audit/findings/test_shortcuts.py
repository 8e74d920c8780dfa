"""Words and files of shortcuts."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from camlens.audit import Effect, Shortcuts
from camlens.audit.findings.shortcut_pictures import picture_file, pictures_of
from camlens.audit.findings.shortcuts import (
    Kind,
    Region,
    Status,
    advice,
    for_summary,
    p_in_words,
    place_in_words,
    sentence,
)
from camlens.core.errors import StoreError
from tests.audit.shortcuts import CORNER, shortcuts

NAMES = ("cat", "dog", "fish")
NAN = float("nan")


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = shortcuts(({"with": "shortcuts/a.png"}, {}))
    result.write(tmp_path / "shortcuts.json")
    again = Shortcuts.read(tmp_path / "shortcuts.json")
    assert again is not None
    assert repr(again) == repr(result)  # NaN is not equal to itself
    again.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "shortcuts.json").read_bytes()


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"shortcuts": [{}], "tested": []}', '{"shortcuts": 3, "tested": []}']
)
def test_a_damaged_result_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "shortcuts.json").write_text(text)
    with pytest.raises(StoreError) as caught:
        Shortcuts.read(tmp_path / "shortcuts.json")
    assert caught.value.code == "store.shortcuts-damaged"


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("status", get_args(Status))
@pytest.mark.parametrize(
    ("classes", "names"), [((2,), "fish: "), ((0, 1), "cat and dog: "), ((0, 1, 2), "cat, dog and fish: ")]
)
def test_every_result_has_a_sentence(kind: Any, status: Any, classes: tuple[int, ...], names: str) -> None:
    shortcut = replace(shortcuts().shortcuts[0], kind=kind, status=status, classes=classes, images=1234)
    words = sentence(shortcut, NAMES)
    assert words.startswith(names)
    assert ("1,234" in words) == (status != "object")
    assert advice(shortcut, NAMES).endswith(".")
    assert for_summary(shortcut, NAMES)["sentence"] == words


@pytest.mark.parametrize(
    ("drop", "pull", "numbers"),
    [
        (Effect(0.624, 0.44, 0.78, 0.0, 30), None, ["62", "95", "44", "78"]),
        (None, Effect(0.004, -0.02, 0.03, 0.5, 30), []),
        (Effect(-0.1, -0.2, 0.0, 0.9, 30), Effect(1.0, 0.9, 1.0, 0.0, 30), ["100", "95", "90", "100"]),
        (Effect(NAN, NAN, NAN, NAN, 0), None, []),
    ],
)
def test_effects_are_percentages_with_intervals(drop: Any, pull: Any, numbers: list[str]) -> None:
    shortcut = replace(shortcuts().shortcuts[0], drop=drop, pull=pull, images=7)
    assert re.findall(r"-?\d+", sentence(shortcut, NAMES)) == ["7", *numbers]


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (None, ""),
        ((0.0, 0.0, 1.0, 1.0), ""),
        (CORNER, "at the lower right"),
        ((0.0, 0.0, 0.2, 0.2), "at the upper left"),
        ((0.4, 0.4, 0.6, 0.6), "at the center"),
        ((0.0, 0.95, 1.0, 1.0), "at the bottom"),
        ((0.0, 0.0, 0.05, 1.0), "on the left"),
        ((1.0, 1.0, 1.0, 1.0), "at the lower right"),
    ],
)
def test_places_are_ninths_of_the_image(region: Region | None, words: str) -> None:
    assert place_in_words(region) == words


@pytest.mark.parametrize(("p", "words"), [(NAN, "–"), (0.0, "< 0.001"), (0.0123, "0.012"), (1.0, "1.000")])
def test_p_values_have_three_digits(p: float, words: str) -> None:
    assert p_in_words(p) == words


def test_an_example_without_another_image_has_two_pictures() -> None:
    shortcut = shortcuts().shortcuts[0]
    labels = np.array([0, 1, -1])
    alone = replace(shortcut.examples[0], row=2, other_row=None)
    pictures = pictures_of(shortcut, alone, NAMES, labels)
    assert [(picture.which, picture.probability) for picture in pictures] == [("with", 0.97), ("without", 0.08)]
    assert not any(name in picture.caption for picture in pictures for name in NAMES)  # the row has no label
    four = pictures_of(shortcut, replace(shortcut.examples[0], row=0, other_row=1), NAMES, labels)
    assert [picture.caption.partition(",")[0] for picture in four] == ["cat", "cat", "dog", "dog"]


@pytest.mark.parametrize(
    "file", ["../a.png", "shortcuts/../../a.png", "a.png", "shortcuts/none.png", "shortcuts", "/etc/hosts"]
)
def test_only_pictures_of_the_run_are_read(file: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "shortcuts").mkdir(parents=True)
    for place in (tmp_path, run, run / "shortcuts"):
        (place / "a.png").touch()
    assert picture_file(run, file) is None
    assert picture_file(run, "shortcuts/a.png") == (run / "shortcuts" / "a.png").resolve()
