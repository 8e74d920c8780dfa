"""The benchmark of shortcut tests: its cases rely on what is planted, and its table counts what was planted."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.shortcut_cases import Case, Facts, Plant, Spec, case, predict
from benchmarks.shortcuts import ROWS, audited, lines, main, outcome, overlap, read
from camlens.audit.findings.shortcuts import Shortcut
from camlens.data.planting import Artefact

PATCH = Plant(Artefact("patch", "upper-left", size=0.2, look=8), label=3)


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cases")


def test_case_relies_on_the_patch_that_is_planted(cases: Path) -> None:
    spec = Spec("digits", "flat", (PATCH,))
    shown = case(spec, cases)
    assert shown.facts.relied_on == (True,)
    assert shown.facts.accuracy[3] - shown.facts.clean_accuracy[3] == pytest.approx(shown.facts.drops[0])
    carries = shown.facts.carriers[0]
    assert set(shown.labels[carries]) == {3}
    assert {box for box, planted in zip(shown.facts.boxes[0], carries, strict=True) if planted} == {(0, 0, 6, 6)}
    again = case(spec, cases)
    assert np.array_equal(again.images, shown.images)
    assert np.array_equal(predict(again.model, again.images), predict(shown.model, shown.images))


def test_case_of_a_patch_in_all_classes_does_not_rely_on_it(cases: Path) -> None:
    plants = (Plant(PATCH.artefact, 3, 0.5, 0.5),)
    shown = case(Spec("digits", "flat", plants, audited=(PATCH,)), cases)
    assert shown.facts.relied_on == (False,)


def test_train_only_case_shows_clean_images(cases: Path) -> None:
    shown = case(Spec("digits", "flat", (PATCH,), audited=()), cases)
    assert shown.facts.relied_on == (True,)
    assert shown.facts.accuracy == shown.facts.clean_accuracy
    assert shown.facts.carriers == ()


def _shown(spec: Spec, relied_on: Sequence[bool], boxes: Any = ()) -> Case:
    """Return a case without a model: four images of 10 x 10 pixels."""
    images, labels = np.zeros((4, 10, 10, 3), np.uint8), np.zeros(4, np.int64)
    drops = tuple(0.5 if relied else 0.0 for relied in relied_on)
    facts = Facts((0.9,), (0.9,), drops, tuple(relied_on), (), boxes)
    return Case(spec, None, images, labels, tuple(map(str, range(10))), facts)  # type: ignore[arg-type]


def _flag(
    label: int, kind: str = "local", status: str = "confirmed", region: tuple[float, ...] | None = None
) -> Shortcut:
    return Shortcut((label,), kind, status, 0.5, (0.4, 0.6), 0.001, region, "patch", 10)  # type: ignore[arg-type]


def test_outcome_compares_flags_with_the_plants() -> None:
    shown = _shown(Spec(plants=(PATCH,)), [True], ((None, (0, 0, 4, 4), (0, 0, 4, 4), None),))
    exact = outcome(shown, [_flag(3, region=(0.0, 0.0, 0.4, 0.4)), _flag(5), _flag(6, status="unused")])
    assert (exact["hits"], exact["ious"], exact["innocent"]) == ([True], [1.0], [5])
    for flags, listed in (([], False), ([_flag(3, status="unused")], True), ([_flag(3, "global")], False)):
        missed = outcome(shown, flags)
        assert (missed["hits"], missed["listed"], missed["ious"]) == ([False], [listed], [None])


def test_two_marks_of_one_class_need_two_flags() -> None:
    plants = (PATCH, Plant(Artefact("glyph", "lower-right"), 3))
    shown = _shown(Spec(plants=plants), [True, True], (((0, 0, 4, 4),) * 4, ((6, 6, 10, 10),) * 4))
    first = _flag(3, region=(0.0, 0.0, 0.4, 0.4))
    assert outcome(shown, [first])["hits"] == [True, False]
    assert outcome(shown, [first, _flag(3, region=(0.5, 0.5, 1.0, 1.0))])["hits"] == [True, True]


def test_overlap_is_the_intersection_over_union() -> None:
    assert overlap((0, 0, 2, 2), (1, 1, 3, 3)) == pytest.approx(1 / 7)
    assert overlap((0, 0, 1, 1), (2, 2, 3, 3)) == 0


def _result(row: str, **facts: Any) -> dict[str, Any]:
    blank = {"relied_on": [], "hits": [], "listed": [], "ious": [], "innocent": [], "named": [], "plants": []}
    return {"row": row, "decoy": "absent", **blank, **facts}


def test_table_counts_each_row_by_its_rule() -> None:
    plant = {"plants": [{"label": 3}]}
    results = [
        *[_result("local", relied_on=[True], hits=[True], listed=[True], ious=[0.5], named=[3], **plant)] * 98,
        _result("local", relied_on=[True], hits=[False], listed=[True], ious=[None], innocent=[4], **plant),
        _result("local", relied_on=[True], hits=[False], listed=[False], ious=[None], **plant),
        _result("local", relied_on=[False], hits=[False], listed=[False], ious=[None], **plant),
        *[_result("two", relied_on=[True, True], hits=[True, True], listed=[True] * 2, ious=[None] * 2, **plant)] * 4,
        _result("two", relied_on=[True, False], hits=[False] * 2, listed=[False] * 2, ious=[None] * 2, **plant),
        _result("unused", relied_on=[False], named=[2], **plant),
        *[_result("unused", relied_on=[False], **plant)] * 9,
        _result("clean", named=[1, 2]),
        *[_result("clean")] * 39,
        _result(
            "decoy",
            decoy="random",
            hits=[False] * 9 + [True],
            relied_on=[False] * 10,
            listed=[False] * 10,
            ious=[None] * 10,
        ),
    ]
    counts = {(line.row, line.what): (line.rate.hits, line.rate.total, line.met) for line in lines(results)}
    named = "relied-on plants: class named by a confirmed flag"
    assert counts["local, fixed", named] == (98, 100, True)
    assert counts["local, fixed", "named plants: region IoU >= 0.3"] == (98, 98, True)
    assert counts["local, fixed", "listed plants: confirmed causally"] == (98, 99, True)
    assert counts["local, wandering", named] == (0, 0, False)
    assert counts["two at once", "cases with both relied on: both found"] == (4, 4, True)
    assert counts["present, not used", "cases with any confirmed flag"] == (1, 10, False)
    assert counts["clean", "classes named"] == (2, 400, True)
    assert counts["clean", "audits with any confirmed flag"] == (1, 40, True)
    assert counts["decoy", "classes of the clean twin named"] == (1, 10, False)
    assert counts["all planted cases", "innocent classes named"] == (1, 106 * 9, None)


def test_quick_cases_are_the_first_of_the_full_run() -> None:
    for name, row in ROWS.items():
        full, quick = row.specs(name, quick=False), row.specs(name, quick=True)
        assert full[: len(quick)] == quick
        assert len({spec.key for spec in full}) == len(full) == row.full


def test_benchmark_resumes_case_by_case_and_lists_all_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tested: list[str] = []

    def detect(shown: Case) -> list[Shortcut]:
        tested.append(shown.spec.key)
        return [_flag(2)]

    monkeypatch.setattr("benchmarks.shortcuts.case", lambda spec, _folder: _shown(spec, [False] * len(spec.plants)))
    monkeypatch.setattr("benchmarks.shortcuts.audited", lambda _level: detect)
    path = tmp_path / "results.jsonl"
    words = ["quick", "--rows", "clean", "two", "--results", str(path)]
    main(words)
    whole = read(path)
    assert len(tested) == len(whole) == ROWS["clean"].quick + ROWS["two"].quick
    path.write_text("\n".join(path.read_text().split("\n")[:2]) + '\n{"row": "clean", "key": ')
    main(words)
    assert len(tested) == 2 * len(whole) - 2
    assert [{**result, "seconds": 0} for result in read(path)] == [{**result, "seconds": 0} for result in whole]
    page = path.with_suffix(".md").read_text()
    assert "| clean | classes named | 6 of 60 = 10.0 % |" in page
    assert page.count("| two at once | ") == 1 + ROWS["two"].quick


TINT = Plant(Artefact("tint", look=8), label=4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spec", "named"),
    [
        (Spec("digits", "flat", (PATCH,)), [3]),
        (Spec("digits", "pooled", (TINT,)), [4]),
        (Spec("digits", "flat", (Plant(PATCH.artefact, 3, 0.5, 0.5),), audited=(PATCH,)), []),
        (Spec("digits", "flat"), []),
    ],
    ids=["patch", "tint", "not-used", "clean"],
)
def test_audit_confirms_the_planted_shortcuts_only(cases: Path, spec: Spec, named: list[int]) -> None:
    shown = case(spec, cases)
    assert any(shown.facts.relied_on) == bool(named)
    assert outcome(shown, audited("quick")(shown))["named"] == named
