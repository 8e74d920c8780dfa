"""Two runs compared on the images that they share."""

import json
from pathlib import Path

import numpy as np
import pytest

from camlens import InputError
from camlens.audit.findings.comparison import compare
from tests.audit.fake import FakeRun, fake_run


def runs(tmp_path: Path) -> tuple[FakeRun, FakeRun]:
    """Return two runs on 60 images: the second model fixes 12 dogs and breaks one cat."""
    label = [0] * 30 + [1] * 30
    before = [0] * 30 + [1] * 14 + [2] * 16
    after = [2] + [0] * 29 + [1] * 26 + [2] * 4
    return fake_run(tmp_path / "before", label, before), fake_run(tmp_path / "after", label, after)


def test_fixed_and_broken_images_and_their_classes(tmp_path: Path) -> None:
    comparison = compare(*runs(tmp_path))
    overall = comparison.overall
    assert (overall.both, overall.fixed, overall.broken, overall.neither) == (43, 12, 1, 4)
    assert overall.difference == pytest.approx(11 / 60)
    assert overall.interval[0] > 0
    assert overall.p == pytest.approx(2 * 14 / 2**13)
    assert [(image.id, image.label, image.before, image.after) for image in comparison.broken] == [
        ("000.png", "cat", "cat", "fish")
    ]
    assert [image.row_after for image in comparison.fixed] == list(range(44, 56))
    assert [(change.name, change.verdict) for change in comparison.classes] == [("dog", "better"), ("cat", "unchanged")]
    assert comparison.classes[0].corrected == pytest.approx(2 * 2 / 2**12)


def test_images_are_matched_by_id_and_classes_by_name(tmp_path: Path) -> None:
    before, after = runs(tmp_path)
    order = np.random.default_rng(0).permutation(60)
    renamed = np.array([2, 0, 1])  # the second model has its classes in another order
    columns = {name: values[order] for name, values in after.columns.items()}
    columns |= {
        name: np.ma.MaskedArray(renamed[columns[name].data], columns[name].mask, fill_value=-1)
        for name in ("label", "predicted")
    }
    shuffled = FakeRun(
        after.path, columns, after.features[order], after.map_predicted, after.map_label, ("dog", "fish", "cat")
    )
    wanted, comparison = compare(before, after), compare(before, shuffled)
    assert comparison.overall == wanted.overall
    assert comparison.classes == wanted.classes
    assert [image.id for image in comparison.fixed] == [image.id for image in wanted.fixed]


def test_classes_with_the_same_name_are_told_apart(tmp_path: Path) -> None:
    names = ("crane", "crane", "fish")
    before = fake_run(tmp_path / "before", [0, 0, 1], [0, 0, 1], class_names=names)
    after = fake_run(tmp_path / "after", [0, 0, 1], [0, 1, 1], class_names=names)
    comparison = compare(before, after)
    assert (comparison.overall.both, comparison.overall.broken) == (2, 1)
    assert len(comparison.classes) == 2


def test_other_images_are_counted_and_left_out(tmp_path: Path) -> None:
    before = fake_run(tmp_path / "before", [0, 0, 1, -1, 1], [0, 0, 1, 1, -1])
    after = fake_run(tmp_path / "after", [0, 1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 0, 0])
    comparison = compare(before, after)
    assert (comparison.overall.images, comparison.overall.broken) == (2, 1)
    assert (comparison.relabeled, comparison.unknown) == (1, 2)
    assert (comparison.only_before, comparison.only_after) == (0, 2)


def test_runs_without_a_common_image_are_refused(tmp_path: Path) -> None:
    before, after = fake_run(tmp_path / "before", [-1], [0]), fake_run(tmp_path / "after", [0], [0])
    with pytest.raises(InputError) as caught:
        compare(before, after)
    assert caught.value.code == "compare.nothing-in-common"


def test_the_comparison_can_be_written_as_json(tmp_path: Path) -> None:
    comparison = compare(*runs(tmp_path))
    facts = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert [image["id"] for image in facts["broken"]] == ["000.png"]
    assert (facts["compared_with"], facts["before"]["hits"]) == (str(tmp_path / "before"), 44)
    assert [entry["verdict"] for entry in facts["classes"]] == ["better", "unchanged"]
    assert any("000.png" in line for line in comparison.lines())
