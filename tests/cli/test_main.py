"""Tests of the `camlens` command: help, version, exit codes, errors, closed pipes."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from camlens import MissingExtraError, __version__
from camlens.cli import main

MODEL = ("--model", "camlens_tiny:classifier")
COMMANDS = ("explain", "compare", "layers", "methods", "predict", "demo")


def test_version_prints_the_package_version(camlens: Any) -> None:
    result = camlens("--version")
    assert (result.exit_code, result.stdout) == (0, f"camlens {__version__}\n")


def test_help_lists_every_command(camlens: Any) -> None:
    result = camlens("--help")
    assert result.exit_code == 0
    assert [name for name in COMMANDS if f" {name} " not in result.stdout] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_every_commands_help_has_examples(camlens: Any, name: str) -> None:
    result = camlens(name, "--help")
    assert result.exit_code == 0
    assert "Examples:" in result.stdout
    assert f"camlens {name}" in result.stdout.partition("Examples:")[2]


@pytest.mark.parametrize(
    "words",
    [("bogus",), ("explain",), ("explain", "one.png", "--bogus"), ("explain", "one.png", "--top-k", "0")],
)
def test_misuse_is_exit_code_2_without_a_traceback(camlens: Any, words: tuple[str, ...]) -> None:
    result = camlens(*words)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert "Usage:" in result.stderr


def test_debug_shows_the_traceback(camlens: Any) -> None:
    result = camlens("--debug", "explain", "one.png", "--model", "camlens_tiny:broken")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert 'raise ValueError("the disk with the weights is gone")' in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_without_debug_the_same_error_is_one_line(refused: Any) -> None:
    error = refused("explain", "one.png", "--model", "camlens_tiny:broken")
    assert (error.code, error.facts["spec"]) == ("model.factory-failed", "camlens_tiny:broken")


def test_optional_commands_are_imported_when_called_and_return_their_exit_code(
    camlens: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "camlens_extra_word.py").write_text(
        "import typer\n"
        "def word(place: str, loud: bool = False) -> None:\n"
        '    """Say a word."""\n'
        "    typer.echo(place.upper() if loud else place)\n"
        "    raise typer.Exit(3 if loud else 0)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(main, "app", typer.Typer(cls=main.Commands, pretty_exceptions_enable=False))
    main.app.callback()(main.options)
    main.app.command()(main.methods)
    main._add_optional("word", "camlens_extra_word", "Say a word.")
    from typer.testing import CliRunner

    assert "camlens_extra_word" not in sys.modules
    quiet, loud = (CliRunner().invoke(main.app, ["word", "here", *more]) for more in ([], ["--loud"]))
    assert (quiet.exit_code, quiet.stdout) == (0, "here\n")
    assert (loud.exit_code, loud.stdout) == (3, "HERE\n")
    assert CliRunner().invoke(main.app, ["word"]).exit_code == 2
    assert "--loud" in CliRunner().invoke(main.app, ["word", "--help"]).stdout


def test_a_missing_extra_is_named_in_one_line(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_ignored: object, **_more: object) -> None:
        raise MissingExtraError.of("timm", "vision")

    monkeypatch.setattr("camlens.models.load_model", absent)
    error = refused("layers")
    assert (error.code, error.facts) == ("extra.missing", {"package": "timm", "extra": "vision"})


def test_a_closed_pipe_is_no_error() -> None:
    code = "from camlens.cli.main import run; run()"
    with subprocess.Popen(
        [sys.executable, "-c", code, "methods", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert said == b""
    assert running.returncode in (0, 1)


def test_a_factory_is_found_in_the_working_directory(
    camlens: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place])
    (folder / "own_tiny_net.py").write_text((Path(__file__).parent / "tiny.py").read_text())
    result = camlens("predict", "one.png", "--model", "own_tiny_net:classifier")
    assert (result.exit_code, result.stderr) == (0, "")
    assert len(result.stdout.splitlines()) == 6


@pytest.mark.parametrize("module", ["typer", "torch", "camlens.models.loading", "camlens.cli.explaining"])
def test_an_interrupt_while_modules_are_imported_shows_no_traceback(folder: Path, module: str) -> None:
    code = f"""
import sys

class Interrupt:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupt)
from camlens.cli.main import run
run()
"""
    words = [sys.executable, "-c", code, "explain", "one.png", "--model", "demo:photos"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)
    assert (ended.returncode, ended.stdout) == (main.INTERRUPTED, "")
    assert len(ended.stderr.splitlines()) == 1
