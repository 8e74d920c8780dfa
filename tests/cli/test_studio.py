"""Tests of `camlens studio` up to the start of the server, which is tested with the wheel."""

import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.audit.synthetic import synthetic_run


def test_a_port_in_use_is_refused(refused: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        error = refused("studio", "--port", str(port), "--no-browser")
    assert (error.code, error.facts) == ("studio.address", {"host": "127.0.0.1", "port": port})


def test_other_addresses_than_loopback_need_a_token(refused: Any) -> None:
    error = refused("studio", "--host", "0.0.0.0", "--port", "0", "--token", "none", "--no-browser")
    assert error.code == "studio.token-needed"


@pytest.mark.parametrize("spec", ["nope", "demo:nope", "no_such_module_anywhere:factory", "torchvision:", ":factory"])
def test_a_model_that_cannot_exist_is_refused_before_anything_is_served(
    refused: Any, monkeypatch: pytest.MonkeyPatch, spec: str
) -> None:
    monkeypatch.setattr("uvicorn.Server.run", lambda *_ignored, **_more: pytest.fail("it serves"))
    error = refused("studio", "--model", spec, "--port", "0", "--no-browser")
    assert error.facts["spec"] == spec


def test_a_model_that_may_exist_is_loaded_while_the_page_is_served(
    camlens: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[None] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda _self, sockets: served.extend(one.close() for one in sockets))
    for spec in ("camlens_tiny:broken", "resnet50", "demo:photos"):
        result = camlens("studio", "--model", spec, "--port", "0", "--no-browser")
        assert result.exit_code == 0, result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert len(served) == 3


def test_a_run_that_names_a_factory_runs_no_code_unless_it_is_trusted(
    camlens: Any, refused: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = synthetic_run(folder / "run", rows=4).path
    manifest = run / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"tests:synthetic"', '"stranger:build"'))
    (folder / "stranger.py").write_text("raise SystemExit('it ran')")
    monkeypatch.setattr("uvicorn.Server.run", lambda _self, sockets: [one.close() for one in sockets])
    error = refused("studio", "--audit", "run", "--port", "0", "--no-browser")
    assert error.code == "model.untrusted-run"
    assert "stranger" not in sys.modules
    path = list(sys.path)
    trusted = camlens("studio", "--audit", "run", "--trust-run", "--port", "0", "--no-browser")
    assert trusted.exit_code == 0
    assert sys.path == path
