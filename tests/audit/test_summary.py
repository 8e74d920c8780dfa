import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from camlens.audit.findings.overview import Overview, percent
from camlens.audit.summary import summarise, write_summary
from tests.audit.fake import GRID, FakeRun, fake_run
from tests.audit.shortcuts import CORNER, shortcuts, write_shortcuts
from tests.audit.synthetic import synthetic_run


def cheating(path: Path) -> FakeRun:
    """Images predicted as fish have 0.8 of their evidence in the lower right corner, all others in the middle."""
    label, predicted = [0, 1, 2] * 20, [0, 1, 2] * 19 + [2, 2, 2]
    maps = np.zeros((60, *GRID))
    for row, answer in enumerate(predicted):
        maps[row, 2, 2] = 0.2 if answer == 2 else 1.0
        maps[row, 4, 4] = 0.8 if answer == 2 else 0.0
    maps += np.random.default_rng(0).random(maps.shape) * 1e-3
    return fake_run(path, label, predicted, [0.9] * 60, maps=maps)


def test_the_summary_reports_a_class_that_relies_on_a_corner(tmp_path: Path) -> None:
    (sentence, *rest) = summarise(cheating(tmp_path)).attention
    assert re.findall(r"\d+|fish|lower right", sentence) == ["fish", "79", "1", "16", "79", "lower right", "1", "22"]
    assert not [other for other in rest if "cat" in other or "dog" in other]
    facts = summarise(cheating(tmp_path)).to_dict()
    (lean,) = facts["leaning"]
    assert (lean["class"], lean["measure"], lean["images"]) == ("fish", "corner_energy", 22)
    assert lean["mean"] == pytest.approx(0.79, abs=0.01)
    assert lean["uniform"] == pytest.approx(4 / 25)
    measures = facts["measures"]["corner_energy"]
    assert measures["incorrect"] > measures["correct"]
    assert 0 < measures["p"] < 1


def test_the_lines_contain_the_numbers(tmp_path: Path) -> None:
    lines = summarise(cheating(tmp_path)).lines()
    numbers = [re.findall(r"[\d.]+", line) for line in lines]
    assert numbers[0] == ["60", "58", "2"]
    assert sorted(numbers[1]) == sorted(["96.7", "88.6", "99.1", "95", "58", "60"])
    (worst,) = [line for line in lines if line.startswith("  cat  ")]
    assert sorted(re.findall(r"[\d.]+", worst)) == sorted(["95.0", "76.4", "99.1", "95", "19", "20", "100"])
    (confused,) = [line for line in lines if re.search(r"^  cat .*fish", line)]
    assert re.findall(r"[\d.]+", confused) == ["1", "5"]
    (calibrated,) = [found for found in numbers if "0.067" in found]
    assert "6.7" in calibrated


def test_differences_between_correct_and_incorrect_predictions_are_reported(tmp_path: Path) -> None:
    maps = np.zeros((60, *GRID))
    maps[:, 2, 2], maps[30:, 1:4, 1:4] = 1, 1
    sentences = summarise(fake_run(tmp_path, [0] * 60, [0] * 30 + [1] * 30, maps=maps)).attention
    (entropy,) = [sentence for sentence in sentences if "entropy" in sentence]
    assert re.findall(r"[\d.]+", entropy)[:3] == ["0.68", "0.00", "100"]


def test_differences_between_predictions_that_may_be_chance_are_not_reported(tmp_path: Path) -> None:
    reported = 0
    for seed in range(20):
        maps = np.random.default_rng(seed).random((120, *GRID)) ** 8
        reported += bool(summarise(fake_run(tmp_path, [0] * 120, [0] * 100 + [1] * 20, maps=maps)).attention)
    assert reported <= 1


def test_evidence_in_the_corners_of_all_images_is_compared_with_a_uniform_map(tmp_path: Path) -> None:
    maps = np.full((12, *GRID), 0.01)
    maps[:, 0, 0] = 1
    (sentence,) = summarise(fake_run(tmp_path, [0] * 12, [0] * 12, maps=maps)).attention
    assert re.findall(r"\d+|upper left", sentence) == ["83", "81", "upper left", "16"]


@pytest.mark.parametrize(
    ("label", "predicted", "counts", "accuracy"),
    [
        ([], [], ["0"], None),
        ([-1, -1, -1], [0, 1, 1], ["3", "3"], None),
        ([0, 0], [0, 0], ["2", "2", "0"], 1.0),
        ([0, 1], [1, 0], ["2", "0", "2"], 0.0),
        ([0, 1, 1], [0, -1, -1], ["3", "1", "0", "2"], 1.0),
        ([0, 1], [-1, -1], ["2", "2"], None),
    ],
)
def test_edge_cases_have_a_summary(
    label: list[int], predicted: list[int], counts: list[str], accuracy: float | None, tmp_path: Path
) -> None:
    summary = summarise(fake_run(tmp_path, label, predicted))
    assert re.findall(r"\d+", summary.lines()[0]) == counts
    written = json.loads(write_summary(summary, tmp_path / "summary.json").read_text())
    assert written["accuracy"]["value"] == accuracy
    assert written["images"] == len(label)


def test_unreadable_images_are_listed(tmp_path: Path) -> None:
    lines = summarise(fake_run(tmp_path, [0] * 9, [0] + [-1] * 8)).lines()
    assert lines[-6:-1] == [f"  {row:03d}.png: cannot be decoded" for row in range(1, 6)]
    assert re.findall(r"\d+", lines[-1]) == ["3"]


def test_empty_maps_have_no_findings(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2], [0, 1, 2], maps=np.zeros((3, *GRID)))
    assert np.isnan(run.columns["corner_energy"]).all()
    assert summarise(run).attention == []
    assert Overview.of(run).means.counts.tolist() == [0, 0, 0]


def test_the_summary_of_a_stored_run_matches_its_columns(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=600)
    summary = summarise(audit)
    label, predicted = audit.column("label").filled(), audit.column("predicted").filled()
    judged = (label >= 0) & (predicted >= 0)
    assert summary.accuracy.total == judged.sum()
    assert summary.accuracy.hits == (label == predicted)[judged].sum()
    assert re.findall("jay|lower right", summary.attention[0]) == ["jay", "lower right"]


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.001, "1 %"), (0.345, "34 %"), (0.999, "99 %"), (1.0, "100 %"), (float("nan"), "–")],
)
def test_percentages_are_not_rounded_to_0_or_100(share: float, words: str) -> None:
    assert percent(share) == words


def test_shortcuts_are_null_without_their_tests(tmp_path: Path) -> None:
    summary = summarise(fake_run(tmp_path, [0, 1], [0, 1]))
    assert summary.shortcuts is None
    assert summary.to_dict()["shortcuts"] is None


def test_everything_that_was_tested_is_in_the_summary_the_worst_first(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2], [0, 1, 2])
    tested = write_shortcuts(tmp_path)
    path = write_summary(summarise(run), tmp_path / "summary.json")
    listed = json.loads(path.read_text())["shortcuts"]
    assert [facts["status"] for facts in listed] == [shortcut.status for shortcut in tested.shortcuts]
    first, second, *_, last = listed
    assert {name: first[name] for name in ("classes", "kind", "status", "effect", "interval", "p", "images")} == {
        "classes": ["fish"],
        "kind": "local",
        "status": "confirmed",
        "effect": 0.85,
        "interval": [0.74, 0.93],
        "p": 1e-6,
        "images": 30,
    }
    assert (first["region"], first["property"]) == (list(CORNER), "patch")
    assert (second["classes"], second["region"], second["property"]) == (["cat", "dog"], None, "brightness")
    assert (last["effect"], last["interval"], last["p"]) == (None, [None, None], None)


def test_confirmed_shortcuts_are_printed_before_the_accuracy(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2], [0, 1, 2])
    write_shortcuts(tmp_path)
    lines = summarise(run).lines()
    numbers = [re.findall(r"[\d.]+", line) for line in lines]
    (heading,) = [place for place, line in enumerate(lines) if line.startswith("Shortcuts ")]
    assert numbers[heading] == ["3"]
    patch, brightness, group, tested = lines[heading + 1 : heading + 5]
    assert re.findall(r"[\d.]+|fish|lower right", patch) == [
        *("fish", "lower right", "30", "62", "95", "44", "78", "85", "fish", "95", "74", "93", "0.001")
    ]
    assert re.findall(r"[\d.]+|cat|dog", brightness) == ["cat", "dog", "48", "34", "95", "21", "47", "0.012"]
    assert re.findall(r"[\d.]+", group) == ["12", "30", "95", "12", "48", "0.030"]
    assert re.findall(r"\d+", tested) == ["3", "18", "3", "1", "1", "1"]
    assert heading < next(place for place, line in enumerate(lines) if line.startswith("Accuracy"))


def test_a_result_without_a_flag_is_printed_too(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2], [0, 1, 2])
    tested = shortcuts()
    replace(tested, shortcuts=tested.shortcuts[3:]).write(tmp_path / "shortcuts.json")
    lines = summarise(run).lines()
    (heading,) = [place for place, line in enumerate(lines) if line.startswith("Shortcuts ")]
    assert re.findall(r"\d+", lines[heading]) == []
    assert re.findall(r"\d+", lines[heading + 1]) == ["3", "18", "0", "1", "1", "1"]
