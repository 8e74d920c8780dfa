"""Image files and a factory model, in a directory of their own, for every test of the command line."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from camlens.cli.main import app

_spec = importlib.util.spec_from_file_location("camlens_tiny", Path(__file__).with_name("tiny.py"))
assert _spec is not None
assert _spec.loader is not None
tiny = importlib.util.module_from_spec(_spec)
sys.modules["camlens_tiny"] = tiny  # so that a spec such as "camlens_tiny:classifier" finds it
_spec.loader.exec_module(tiny)

MODEL = ("--model", "camlens_tiny:classifier")
Run = Callable[..., "object"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory with two photographs."""
    monkeypatch.chdir(tmp_path)
    tiny.photograph(tmp_path / "one.png", 0)
    tiny.photograph(tmp_path / "two.jpg", 1)
    return tmp_path


@pytest.fixture
def camlens(folder: Path) -> Run:
    """Runs a command line in the folder and returns what came of it."""

    def run(*words: object) -> object:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run
