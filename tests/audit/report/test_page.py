import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camlens.audit.findings.errors import confusion
from camlens.audit.findings.outcomes import outcomes_of
from camlens.audit.report import page as module
from camlens.audit.report import write_report
from camlens.core.errors import MissingExtraError
from tests.audit.fake import GRID, fake_run
from tests.audit.shortcuts import shortcuts, write_shortcuts
from tests.audit.synthetic import synthetic_run

SCRIPT = "const built = 1;"
EVIL = "</script><script>alert(1)</script><!--"


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "built_script", lambda name: SCRIPT)


def written(run: Any) -> str:
    path, _ = write_report(run)
    assert path == run.path / "report.html"
    return path.read_text(encoding="utf-8")


def data_of(text: str) -> dict[str, Any]:
    (found,) = re.findall(r'<script type="application/json" id="evidence">(.*?)</script>', text)
    data: dict[str, Any] = json.loads(found)
    return data


def cells_of(text: str) -> dict[tuple[int, int], int]:
    pattern = r'data-label="(\d+)" data-predicted="(\d+)" aria-label="[^"]*" title="[^"]*">([\d·]+)</button>'
    return {(int(t), int(p)): 0 if count == "·" else int(count) for t, p, count in re.findall(pattern, text)}


def test_the_matrix_has_a_button_for_every_cell_with_its_count(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=500)
    matrix = confusion(outcomes_of(audit))
    assert cells_of(written(audit)) == {place: int(count) for place, count in np.ndenumerate(matrix)}


def test_the_report_names_the_weights_and_their_file(tmp_path: Path) -> None:
    assert f"<dt>Weights</dt><dd>{'0' * 23}, from trained.safetensors</dd>" in written(fake_run(tmp_path, [0], [0]))


def test_only_its_own_script_may_run_and_nothing_may_be_loaded(tmp_path: Path) -> None:
    text = written(fake_run(tmp_path, [0, 1, 2], [0, 1, 1]))
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy == f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"|url\(|@import|https?://', text) == []


def test_names_are_escaped(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2, 0], [0, 1, 1, -1], class_names=(EVIL, "dog", "<b>"))
    run.columns["id"][:] = EVIL
    run.columns["error"][3] = EVIL
    run.manifest.data = EVIL
    text = written(run)
    assert text.count("<script") == 2
    assert data_of(text)["classes"] == [EVIL, "dog", "<b>"]


def test_the_class_that_relies_on_a_corner_is_the_first_mean_map(tmp_path: Path) -> None:
    maps = np.zeros((60, *GRID))
    maps[:, 2, 2] = 1
    maps[40:, 2, 2], maps[40:, 4, 4] = 0.2, 0.8
    text = written(fake_run(tmp_path, [0] * 20 + [1] * 20 + [2] * 20, [0] * 20 + [1] * 20 + [2] * 20, maps=maps))
    (first, *_) = re.findall(r"<figure(?: class=marked)?><canvas.*?</figure>", text)
    assert "<b>fish</b>" in first
    assert re.findall(r"(\d+) %", first) == ["80", "80", "0"]
    assert text.count("class=marked") == 1
    (finding,) = re.findall(r"<li>([^<]*fish[^<]*&nbsp;%[^<]*)</li>", text)
    assert re.findall(r"(\d+)&nbsp;%", finding)[:2] == ["80", "0"]
    values = np.frombuffer(base64.b64decode(data_of(text)["means"]["2"]), np.uint8).reshape(GRID)
    assert (values[4, 4], values[2, 2]) == (255, 64)


def test_the_number_of_classes_shown_is_bounded(tmp_path: Path) -> None:
    audit = synthetic_run(tmp_path / "run", rows=3000, classes=90, width=8, grid=(2, 2))
    text = written(audit)
    assert len(cells_of(text)) == 24 * 24
    notes = [re.findall(r"\d+", note) for note in re.findall(r"<p class=note>(.*?)</p>", text)]
    assert ["24", "66"] in notes
    assert ["50"] in notes
    assert text.count("<canvas data-mean") == 40
    assert len(data_of(text)["cards"]) <= 240 + 48


@pytest.mark.parametrize(
    ("label", "predicted"),
    [([], []), ([-1, -1], [0, 1]), ([0, 0], [0, 0]), ([0, 1], [1, 0]), ([0, 1], [-1, -1]), ([0, -1, 1], [0, 1, -1])],
    ids=["nothing", "no labels", "all right", "all wrong", "all failed", "one of each"],
)
def test_edge_cases_have_a_report(label: list[int], predicted: list[int], tmp_path: Path) -> None:
    run = fake_run(tmp_path, label, predicted)
    text = written(run)
    assert ">nan<" not in text.lower()
    assert "nan %" not in text
    assert ('id="failures"' in text) == (-1 in predicted)
    assert json.loads((tmp_path / "summary.json").read_text())["images"] == len(label)


def test_maps_without_evidence_are_not_drawn(tmp_path: Path) -> None:
    text = written(fake_run(tmp_path, [0, 1], [1, 1], maps=np.zeros((2, *GRID))))
    assert "<canvas data-mean" not in text
    assert {card["map"] for card in data_of(text)["cards"]} == {None}


def test_writing_again_replaces_the_report(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1], [0, 1])
    (tmp_path / "report.html").write_text("old")
    assert written(run) == written(run)
    assert [path.name for path in tmp_path.iterdir() if "unfinished" in path.name] == []


def test_without_the_built_script_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise MissingExtraError("not built")

    monkeypatch.setattr(module, "built_script", missing)
    with pytest.raises(MissingExtraError):
        write_report(fake_run(tmp_path, [0], [0]))
    assert list(tmp_path.iterdir()) == []


def flags_of(text: str) -> list[str]:
    return re.findall(r'<article class="panel flag">.*?</article>', text)


def results_of(text: str) -> list[list[str]]:
    """Return the classes and numbers in each row of the table of results."""
    (table,) = re.findall(r'aria-label="Everything that was tested".*?<tbody>(.*?)</tbody>', text)
    return [re.findall(r"(?<=>)[^<>]+(?=<)", row) for row in table.split("</tr>") if row]


def test_every_confirmed_shortcut_has_a_card_before_the_summary(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2, 0, 1, 2, 0], [0, 1, 2, 0, 1, 2, 0])
    write_shortcuts(tmp_path)
    text = written(run)
    patch, brightness, group = flags_of(text)
    assert text.index('id="shortcuts"') < text.index(patch) < text.index('id="summary"')
    captions = re.findall(r"<figcaption><span>(\w+).*?</span><b>(\d+) %</b>", patch)
    assert captions == [
        *(("cat", "97"), ("cat", "8"), ("cat", "2"), ("cat", "91")),
        *(("dog", "94"), ("dog", "10"), ("dog", "2"), ("dog", "91")),
    ]
    assert patch.count('src="data:image/webp') == 8
    assert patch.count('class="spot" style="left:70.00%;top:72.00%;width:25.00%;height:25.00%"') == 4
    assert brightness.count('src="data:image/webp') == 4
    assert "spot" not in brightness
    assert group.count('src="data:image/webp') == 3


def test_everything_that_was_tested_is_listed_with_its_result(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2], [0, 1, 2])
    shortcuts().write(tmp_path / "shortcuts.json")
    rows = results_of(written(run))
    assert [row[0] for row in rows] == ["fish", "cat and dog", "cat", "dog", "dog", "cat"]
    assert rows[0][3:6] == ["30", "85", "74 to 93"]
    assert rows[3][3:6] == ["22", "1", "-4 to 6"]
    assert rows[5][3:5] == ["4", "–"]


def test_a_result_without_a_flag_has_tables_and_no_cards(tmp_path: Path) -> None:
    tested = shortcuts()
    replace(tested, shortcuts=tested.shortcuts[3:]).write(tmp_path / "shortcuts.json")
    text = written(fake_run(tmp_path, [0, 1, 2], [0, 1, 2]))
    assert flags_of(text) == []
    assert len(results_of(text)) == 3
    (looked_for,) = re.findall(r'aria-label="What was looked for".*?</table>', text)
    assert [looked_for.count(f">{line.property}</th>") for line in tested.tested] == [1] * 4


def test_a_run_without_tests_has_no_section_on_shortcuts(tmp_path: Path) -> None:
    assert 'id="shortcuts"' not in written(fake_run(tmp_path, [0, 1, 2], [0, 1, 2]))


def test_pictures_outside_of_their_directory_or_gone_are_not_shown(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "run", [0, 1, 2, 0, 1], [0, 1, 2, 0, 1])
    pictures = write_shortcuts(run.path).shortcuts[0].examples[0].pictures
    (tmp_path / "secret.png").write_bytes((run.path / pictures["with"]).read_bytes())
    shortcuts(({"with": "../secret.png", "without": "shortcuts/gone.png"},)).write(run.path / "shortcuts.json")
    patch, *_ = flags_of(written(run))
    assert "data:image" not in patch
    assert patch.count('class="stage gone"') == 4


def test_names_of_shortcuts_are_escaped(tmp_path: Path) -> None:
    run = fake_run(tmp_path, [0, 1, 2, 0, 1], [0, 1, 2, 0, 1], class_names=(EVIL, EVIL, EVIL))
    tested = write_shortcuts(tmp_path)
    evil = tuple(replace(shortcut, property=EVIL) for shortcut in tested.shortcuts)
    lines = tuple(replace(line, property=EVIL, note=EVIL) for line in tested.tested)
    replace(tested, shortcuts=evil, tested=lines).write(tmp_path / "shortcuts.json")
    text = written(run)
    assert text.count("<script") == 2
    assert len(flags_of(text)) == 3
