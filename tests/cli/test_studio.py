"""`camlens studio`: what it refuses before it listens. That it serves is tested with the wheel."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.audit.synthetic import synthetic_run


def test_a_port_that_is_taken_is_said_in_one_line(camlens: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = camlens("studio", "--port", str(taken.getsockname()[1]), "--no-browser")
    assert result.exit_code == 2
    assert "cannot listen on 127.0.0.1" in result.stderr
    assert "--port" in result.stderr


def test_others_are_let_in_with_a_token_only(camlens: Any) -> None:
    result = camlens("studio", "--host", "0.0.0.0", "--port", "0", "--token", "none", "--no-browser")
    assert result.exit_code == 2
    assert "a token is needed" in result.stderr


@pytest.mark.parametrize("spec", ["nope", "demo:nope", "no_such_module_anywhere:factory", "torchvision:", ":factory"])
def test_a_model_that_cannot_exist_is_said_before_anything_is_served(
    camlens: Any, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda *_ignored, **_more: pytest.fail("it serves"))
    result = camlens("studio", "--model", spec, "--port", "0", "--no-browser")
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert repr(spec) in line


def test_a_model_that_may_exist_is_loaded_while_the_page_is_served(
    camlens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[None] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda _self, sockets: served.extend(one.close() for one in sockets))
    for spec in ("camlens_tiny:broken", "resnet50", "demo:photos"):
        result = camlens("studio", "--model", spec, "--port", "0", "--no-browser")
        assert (result.exit_code, result.stderr) == (0, "Ctrl-C ends it.\n")
    assert len(served) == 3


def test_a_run_that_names_a_factory_runs_no_code_unless_it_is_trusted(
    camlens: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic_run(folder / "run", rows=4).path
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"tests:synthetic"', '"stranger:build"'))
    (folder / "stranger.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr("uvicorn.Server.run", lambda _self, sockets: [one.close() for one in sockets])
    refused = camlens("studio", "--audit", "run", "--port", "0", "--no-browser")
    assert refused.exit_code == 2
    assert "--trust-run" in refused.stderr
    assert "stranger" not in sys.modules
    path = list(sys.path)
    trusted = camlens("studio", "--audit", "run", "--trust-run", "--port", "0", "--no-browser")
    assert trusted.exit_code == 0
    assert sys.path == path
