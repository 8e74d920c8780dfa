"""The benchmarks run and say what they measured; no time is asserted."""

import base64
import gc
import importlib
import math
import subprocess
import sys

import pytest

from benchmarks import __main__ as command
from benchmarks.harness import Plan, Row, Timing, race, ratios, table, uncollected

GROUPS = sorted({*command.GROUPS, *command.OPTIONAL} - {"memory"})


@pytest.mark.slow
@pytest.mark.parametrize("group", GROUPS)
def test_the_quick_run_of_each_group_prints_its_rows(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    command.main([group, "--quick"])
    printed = capsys.readouterr().out
    assert "its figures mean nothing" in printed
    after = printed.partition(f"## {group}\n")[2].splitlines()
    lines = [line.split(" | ") for line in after if line.startswith("|")][2:]
    assert len(lines) >= 1
    for cells in lines:
        assert len(cells) == 7
        assert cells[2] != "failed"
        assert ("met" in cells[5]) == (cells[4].strip() != "")


@pytest.mark.slow
def test_the_quick_run_of_the_audit_s_benchmark_prints_its_rows(capsys: pytest.CaptureFixture[str]) -> None:
    importlib.import_module("benchmarks.audit").main(["throughput", "demo", "--quick"])
    printed = capsys.readouterr().out
    lines = [line.split(" | ") for line in printed.splitlines() if line.startswith("| resnet") or " images |" in line]
    assert [cells[1] for cells in lines] == ["of bare loop", "seconds", "seconds"]
    assert all(float(cells[2]) > 0 for cells in lines)


def test_memory_grows_by_what_a_pass_holds() -> None:
    code = (  # in a process of its own: the highest mark of this one was set by other tests
        "from benchmarks.memory import highest\n"
        "before = highest()\n"
        "held = bytearray(b'x' * 64_000_000)\n"
        "print(highest() - before)\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert 30e6 < float(printed.stdout) < 300e6


def test_memory_of_a_process_that_fails_is_not_a_number() -> None:
    memory = importlib.import_module("benchmarks.memory")
    assert math.isnan(memory.grown("nobody", "resnet18", 1, 32))


def test_every_round_runs_every_candidate_once_in_an_order_of_its_own() -> None:
    ran: list[str] = []
    candidates = {name: lambda name=name: ran.append(name) for name in "abc"}
    timings = race(candidates, 8, warmups=1)
    orders = ["".join(ran[start : start + 3]) for start in range(3, len(ran), 3)]
    assert ran[:3] == ["a", "b", "c"]
    assert [sorted(order) for order in orders] == [["a", "b", "c"]] * 8
    assert len(set(orders)) > 2
    assert {name: len(timing.seconds) for name, timing in timings.items()} == {"a": 8, "b": 8, "c": 8}


def test_garbage_collection_rests_while_timing_and_resumes_after_an_error() -> None:
    def fail() -> None:
        with uncollected():
            assert not gc.isenabled()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()


def test_ratios_are_those_of_medians_and_of_minima() -> None:
    timings = {"forward": Timing((1.0, 2.0, 6.0)), "ours": Timing((2.0, 3.0, 9.0))}
    (row,) = ratios(timings, "forward", {"ours": 1.4}, "net")
    assert (row.case, row.value, row.best, row.met) == ("net: ours", 1.5, 2.0, False)


@pytest.mark.parametrize(
    ("value", "target", "bound", "met"),
    [
        (1.1, 1.1, "most", True),
        (1.2, 1.1, "most", False),
        (150.0, 150.0, "least", True),
        (149.0, 150.0, "least", False),
        (math.nan, 1.1, "most", False),
        (1.0, None, "most", None),
    ],
)
def test_a_target_is_met_or_not(value: float, target: float | None, bound: str, met: bool | None) -> None:
    assert Row("case", "unit", value, target=target, bound=bound).met is met


def test_the_table_says_not_met_out_loud() -> None:
    printed = table([Row("one", "x", 2.0, 1.0, 1.5), Row("two", "x", 123.4)])
    assert printed.splitlines()[2] == "| one | x | 2.00 | 1.00 | <= 1.50 | **not met** |  |"
    assert printed.splitlines()[3] == "| two | x | 123 |  |  |  |  |"


def test_an_unknown_group_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["speed"])
    assert "groups are cam, memory" in capsys.readouterr().err


def test_writing_keeps_what_was_printed(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "RESULTS.md"
    monkeypatch.setattr(command, "RESULTS", results)
    monkeypatch.setattr(command, "rows_of", lambda _group, _plan: [Row("one", "x", 1.0)])
    command.main(["imports", "--quick", "--write"])
    text = results.read_text(encoding="utf-8")
    assert "| one | x | 1.00 |" in text
    assert "torch" in text
    assert text.strip() in capsys.readouterr().out


def test_a_full_plan_has_ten_rounds_or_more() -> None:
    assert Plan().rounds >= 10
    assert Plan().batches == (1, 16)


def test_the_studios_results_name_limits_verdicts_and_conditions() -> None:
    studio = importlib.import_module("benchmarks.studio")
    rows = [studio.Row("slider to pixels", [9.0, 11.0, 30.0], 20), studio.Row("first paint", [700.0], 500)]
    text = studio.written([*rows, studio.Row("torch alone", [5.0], math.inf)], "- machine: some", 57_300)
    assert "| slider to pixels | 11.0 | 30.0 | 20 | 3 | ok |" in text
    assert "| first paint | 700.0 | 700.0 | 500 | 1 | TOO SLOW |" in text
    assert "| torch alone | 5.0 | 5.0 |  | 1 |  |" in text
    assert "57 kB gzipped" in text
    assert "- machine: some" in text


def test_a_wrong_map_in_a_crowd_is_noticed() -> None:
    studio = importlib.import_module("benchmarks.studio")
    grid = {"shape": [16, 16], "values": base64.b64encode(bytes(16 * 16 * 4)).decode()}
    with pytest.raises(AssertionError):
        studio.check_maps({3: [{"method": "gradcam", "grid": grid}]})
