"""The routes of shortcuts: what was tested, and the pictures of the examples."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from camlens.audit import Audit
from camlens.studio.app import create_app
from camlens.studio.settings import StudioSettings
from tests.audit.shortcuts import CORNER, shortcuts, write_shortcuts
from tests.audit.synthetic import synthetic_run
from tests.studio.conftest import BASE, ask_until


@contextmanager
def client_of(run: Audit) -> Iterator[TestClient]:
    """Serve a run without its model."""
    with TestClient(create_app(StudioSettings(model="demo:nothing", audit=str(run.path))), base_url=BASE) as client:
        ask_until(client, lambda status: status["state"] == "failed")
        yield client


@pytest.fixture
def run(tmp_path: Path) -> Audit:
    return synthetic_run(tmp_path / "run", rows=20, width=4, grid=(2, 2))


def got(client: TestClient, path: str) -> Any:
    answer = client.get(f"/api/audit/{path}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_everything_that_was_tested_is_returned_in_order(run: Audit) -> None:
    tested = write_shortcuts(run.path)
    with client_of(run) as client:
        answer = got(client, "shortcuts")
    assert (answer["level"], answer["passes"], answer["bound"]) == ("quick", 812, 1000)
    assert [line["property"] for line in answer["tested"]] == [line.property for line in tested.tested]
    listed = answer["shortcuts"]
    assert [(shortcut["place"], shortcut["status"]) for shortcut in listed] == [
        (place, shortcut.status) for place, shortcut in enumerate(tested.shortcuts)
    ]
    assert listed[0]["names"] == ["cat"]
    assert listed[1]["names"] == ["ant", "bee"]
    assert listed[0]["pull"] == {"value": 0.85, "low": 0.74, "high": 0.93}
    assert listed[5]["effect"] == {"value": None, "low": None, "high": None}
    assert listed[5]["p"] is None
    pictures = listed[0]["examples"][1]["pictures"]
    assert [picture["which"] for picture in pictures] == ["with", "without", "other", "other_with"]
    assert [picture["row"] for picture in pictures] == [1, 1, 4, 4]
    assert [picture["probability"] for picture in pictures] == pytest.approx([0.94, 0.1, 0.02, 0.91])
    assert [picture["region"] for picture in pictures] == [list(CORNER), None, None, list(CORNER)]
    assert "bee" in pictures[0]["caption"]
    assert "elk" in pictures[3]["caption"]


def test_pictures_are_those_of_the_run(run: Audit) -> None:
    tested = write_shortcuts(run.path)
    with client_of(run) as client:
        for which, file in tested.shortcuts[0].examples[1].pictures.items():
            answer = client.get(f"/api/audit/shortcuts/0/1/{which}.png")
            assert answer.headers["content-type"] == "image/png"
            assert answer.content == (run.path / file).read_bytes()


def test_pictures_outside_of_their_directory_or_gone_are_refused(run: Audit, tmp_path: Path) -> None:
    pictures = write_shortcuts(run.path).shortcuts[0].examples[0].pictures
    (tmp_path / "secret.png").write_bytes((run.path / pictures["with"]).read_bytes())
    outside = {"with": "../secret.png", "without": "shortcuts/../../secret.png", "other": "shortcuts/gone.png"}
    shortcuts((outside,)).write(run.path / "shortcuts.json")
    with client_of(run) as client:
        (example,) = got(client, "shortcuts")["shortcuts"][0]["examples"]
        assert [picture["present"] for picture in example["pictures"]] == [False] * 4
        for address in ("0/0/with", "0/0/without", "0/0/other", "0/0/other_with", "0/1/with", "9/0/with"):
            answer = client.get(f"/api/audit/shortcuts/{address}.png")
            assert answer.status_code == 404, address
            assert answer.json()["code"] == "shortcut.no-picture"
        assert client.get("/api/audit/shortcuts/0/0/manifest.png").status_code == 422


def test_a_run_without_tests_has_the_level_off(run: Audit) -> None:
    with client_of(run) as client:
        answer = got(client, "shortcuts")
    assert (answer["level"], answer["shortcuts"], answer["tested"]) == ("off", [], [])


def test_a_damaged_result_is_a_problem_with_its_fix(run: Audit) -> None:
    (run.path / "shortcuts.json").write_text('{"level": "quick"')
    with client_of(run) as client:
        answer = client.get("/api/audit/shortcuts")
    assert answer.status_code == 422
    assert answer.json()["code"] == "store.shortcuts-damaged"
