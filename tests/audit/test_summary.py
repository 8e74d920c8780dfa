import json
from pathlib import Path

import numpy as np
import pytest

from camlens.audit.findings.overview import Overview, percent
from camlens.audit.summary import summarise, write_summary
from tests.audit.fake import GRID, FakeRun, fake_run
from tests.audit.synthetic import synthetic_run


def cheating(path: Path) -> FakeRun:
    """Images taken for fish have 0.8 of their evidence in the lower right corner, all others in the middle."""
    label, predicted = [0, 1, 2] * 20, [0, 1, 2] * 19 + [2, 2, 2]
    maps = np.zeros((60, *GRID))
    for row, answer in enumerate(predicted):
        maps[row, 2, 2] = 0.2 if answer == 2 else 1.0
        maps[row, 4, 4] = 0.8 if answer == 2 else 0.0
    maps += np.random.default_rng(0).random(maps.shape) * 1e-3
    return fake_run(path, label, predicted, [0.9] * 60, maps=maps)


def test_the_summary_says_in_numbers_that_a_class_looks_into_a_corner(tmp_path: Path) -> None:
    (sentence, *rest) = summarise(cheating(tmp_path)).attention
    assert sentence == (
        "class fish: 79 % of its evidence lies in the corners, others 1 %;"
        " 79 % lies in the lower right ninth of the image, others 1 % (22 images)"
    )
    assert not [other for other in rest if other.startswith("class ")]


def test_the_lines_say_what_there_is_to_know(tmp_path: Path) -> None:
    lines = summarise(cheating(tmp_path)).lines()
    assert lines[0] == "60 images, 58 right, 2 wrong"
    assert lines[1] == "Accuracy    96.7 % (88.6 to 99.1 with 95 % confidence, 58 of 60)"
    text = "\n".join(lines)
    assert (
        "\nWorst classes\n  cat  recall 95.0 % (76.4 to 99.1 with 95 % confidence, 19 of 20), precision 100 %" in text
    )
    assert "\nMost confused\n  cat taken for fish  1 times, 5 % of cat\n  dog taken for fish" in text
    assert "Calibration  expected error 0.067 (0 is best), underconfident by 6.7 points" in text


def test_right_and_wrong_answers_are_compared_where_they_differ(tmp_path: Path) -> None:
    maps = np.zeros((60, *GRID))
    maps[:, 2, 2], maps[30:, 1:4, 1:4] = 1, 1
    found = summarise(fake_run(tmp_path, [0] * 60, [0] * 30 + [1] * 30, maps=maps)).attention
    assert (
        "wrong answers have their evidence more evenly spread: entropy 0.68, right ones 0.00 (higher in 100 % of pairs)"
        in found
    )


def test_evidence_that_lies_in_the_corners_everywhere_is_said_beside_an_even_map(tmp_path: Path) -> None:
    maps = np.full((12, *GRID), 0.01)
    maps[:, 0, 0] = 1
    (sentence,) = summarise(fake_run(tmp_path, [0] * 12, [0] * 12, maps=maps)).attention
    assert sentence == (
        "over all images 83 % of the evidence lies in the corners, 81 % in the upper left; an even map has 16 % there"
    )


@pytest.mark.parametrize(
    ("label", "predicted", "first", "accuracy"),
    [
        ([], [], "0 images", None),
        ([-1, -1, -1], [0, 1, 1], "3 images, 3 without a label", None),
        ([0, 0], [0, 0], "2 images, 2 right, 0 wrong", 1.0),
        ([0, 1], [1, 0], "2 images, 0 right, 2 wrong", 0.0),
        ([0, 1, 1], [0, -1, -1], "3 images, 1 right, 0 wrong, 2 could not be read", 1.0),
        ([0, 1], [-1, -1], "2 images, 2 could not be read", None),
    ],
)
def test_runs_at_the_edge_have_a_summary(
    label: list[int], predicted: list[int], first: str, accuracy: float | None, tmp_path: Path
) -> None:
    summary = summarise(fake_run(tmp_path, label, predicted))
    assert summary.lines()[0] == first
    written = json.loads(write_summary(summary, tmp_path / "summary.json").read_text())
    assert written["accuracy"]["value"] == accuracy
    assert written["images"] == len(label)


def test_images_that_could_not_be_read_are_named(tmp_path: Path) -> None:
    lines = summarise(fake_run(tmp_path, [0] * 9, [0] + [-1] * 8)).lines()
    assert lines[-6:] == [f"  {row:03d}.png: cannot be decoded" for row in range(1, 6)] + ["  and 3 more"]


def test_maps_that_are_empty_say_nothing(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2], [0, 1, 2], maps=np.zeros((3, *GRID)))
    assert np.isnan(run.columns["corner_energy"]).all()
    assert summarise(run).attention == []
    assert Overview.of(run).means.counts.tolist() == [0, 0, 0]


def test_a_stored_run_has_the_same_summary_as_its_columns_say(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=600)
    summary = summarise(audit)
    label, predicted = audit.column("label").filled(), audit.column("predicted").filled()
    judged = (label >= 0) & (predicted >= 0)
    assert summary.accuracy.total == judged.sum()
    assert summary.accuracy.hits == (label == predicted)[judged].sum()
    assert summary.attention[0].startswith("class jay: ")
    assert "in the lower right ninth" in summary.attention[0]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.001, "1 %"), (0.345, "34 %"), (0.999, "99 %"), (1.0, "100 %"), (float("nan"), "–")],
)
def test_a_share_is_never_all_or_nothing_by_rounding(share: float, words: str) -> None:
    assert percent(share) == words
