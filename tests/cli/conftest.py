"""Fixtures: a directory with image files, a factory model, and the command line."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from camlens.cli.main import app
from camlens.core.errors import CamlensError

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
    """Runs a command line in the folder and returns its result."""

    def run(*words: object) -> object:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


@pytest.fixture
def refused(camlens: Run) -> Callable[..., CamlensError]:
    """Runs a command line that must fail with exit code 2 and one line on stderr, and returns the error."""

    def run(*words: object) -> CamlensError:
        result: Any = camlens(*words)
        assert (result.exit_code, result.stdout) == (2, "")
        error = result.exc_info[1].__context__.__cause__  # SystemExit, raised for typer.Exit, raised from the error
        assert isinstance(error, CamlensError)
        assert result.stderr == f"error: {' '.join(str(error).split())}\n"
        return error

    return run
