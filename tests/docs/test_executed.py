"""Every command and Python block in README, docs and --help runs as printed.

Each page runs in a clean directory with the photographs and cached weights that it uses, without the network. Its
blocks run in order and share their variables.
"""

import argparse
import glob
import importlib
import io
import json
import os
import re
import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path

import pytest
import torch
import typer
from huggingface_hub import constants
from typer.testing import CliRunner

from camlens.cli.main import OPTIONAL, app
from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.docs.readers import assumed_variables, fiftyone, lay_out_photographs, plant_weights

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),  # some pages run many explanations
    pytest.mark.filterwarnings("ignore::camlens.core.errors.EvidenceWarning"),  # weights are random
]
SHELL = ("shell", "sh", "console")
COMMANDS = sorted({*(command.name or command.callback.__name__ for command in app.registered_commands), *OPTIONAL})


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    plant_weights(folder)
    return folder


@pytest.fixture
def desk(cached: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a clean working directory with the files that the pages use."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(cached))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cached))
    monkeypatch.setenv("CAMLENS_OFFLINE", "1")
    for name in ("SECRET", "TOKEN"):
        monkeypatch.setenv(name, "s3cret-token-for-the-pages")
    monkeypatch.setitem(sys.modules, "fiftyone", fiftyone())
    monkeypatch.chdir(tmp_path)
    lay_out_photographs(tmp_path)
    return tmp_path


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect the applications of the studios that are started; each ends at once."""
    import uvicorn

    settings: list[object] = []
    studio = importlib.import_module("camlens.cli.studio")

    def listen(_host: str, _port: int) -> socket.socket:
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        return bound

    def run(server: uvicorn.Server, sockets: list[socket.socket]) -> None:
        settings.append(server.config.app)
        sockets[0].close()

    monkeypatch.setattr(studio, "_listen", listen)
    monkeypatch.setattr(uvicorn.Server, "run", run)
    monkeypatch.setenv("CI", "true")
    return settings


def words_of(command: str) -> list[str]:
    """Split a command line into words, with variables and file patterns expanded."""
    words = shlex.split(os.path.expandvars(command), comments=True)
    return [name for word in words for name in (sorted(glob.glob(word)) if "*" in word else [word])]


def run_command(command: str) -> str:
    """Run a command line and return what it prints."""
    program, *words = words_of(command)
    if program == "camlens":
        before = set(sys.path)
        finished = CliRunner().invoke(app, words, catch_exceptions=False)
        sys.path[:] = [folder for folder in sys.path if folder in before]
        assert finished.exit_code == 0, f"{command}\n{finished.output}"
        written = re.findall(r"(?:^|-> )(\S+\.(?:png|html|csv|npy))$", finished.stdout, flags=re.MULTILINE)
        assert [path for path in written if not Path(path).is_file()] == [], command
        return finished.stdout
    if program == "make":
        assert re.search(rf"^{words[0]}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE), command
    elif program == "pip":
        check_extras(words)
    elif program == "curl":
        ask_studio(words)
    else:
        raise AssertionError(f"unsupported command: {command!r}")
    return ""


def check_extras(words: list[str]) -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert words[0] == "install"
    for extra in re.findall(r"camlens\[([\w,]+)\]", " ".join(words[1:])):
        assert set(extra.split(",")) <= set(project["optional-dependencies"])


def ask_studio(words: list[str]) -> None:
    """Send the request of a curl command to a studio."""
    from fastapi.testclient import TestClient

    from camlens.studio.app import create_app
    from camlens.studio.settings import StudioSettings
    from tests.studio.conftest import ask_until

    parser = argparse.ArgumentParser()
    parser.add_argument("-X", default="POST")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", "--data-binary", dest="data", default="")
    parser.add_argument("address")
    given = parser.parse_args(words)
    headers = dict(re.split(r":\s*", header, maxsplit=1) for header in given.H)
    content = Path(given.data[1:]).read_bytes() if given.data.startswith("@") else given.data.encode()
    settings = StudioSettings(model="demo:photos", data="demo:photos", token=os.environ["TOKEN"])
    with TestClient(create_app(settings), base_url="http://127.0.0.1:8765") as client:
        client.headers["authorization"] = f"Bearer {os.environ['TOKEN']}"
        ask_until(client, lambda status: status["state"] == "ready")
        del client.headers["authorization"]
        path = "/" + given.address.partition("/")[2]
        answer = client.request(given.X, path, content=content, headers=headers, params={"wait": 60})
    assert answer.is_success, answer.text


def outputs(page: Path) -> Iterator[tuple[Block, str]]:
    """Run a page's blocks in order, and yield each output block with what was printed."""
    names = assumed_variables() if any(block.language == "python" for block in blocks(page)) else {}
    printed = ""
    for block in blocks(page):
        if block.marker is not None:
            yield block, block.taken_from(printed)
        elif block.language == "python":
            code = compile("\n" * (block.line - 1) + block.text, page.name, "exec")
            with redirect_stdout(io.StringIO()) as stream:
                exec(code, names)
            printed = stream.getvalue()
        elif block.language in SHELL:
            printed = "".join(run_command(command) for command in block.commands())


def without_numbers(text: str) -> str:
    """Replace numbers, which depend on the processor, and line breaks."""
    return " ".join(re.sub(r"-?\d[\d.,]*", "0", text).split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_page_runs_as_printed(page: Path, desk: Path, served: list[object]) -> None:
    methods = set(importlib.import_module("camlens").METHODS)
    try:
        for block, printed in outputs(page):
            assert without_numbers(block.text) == without_numbers(printed), f"run scripts/docs_outputs.py {page.name}"
    finally:
        registry = importlib.import_module("camlens.core.registry")
        for name in set(registry.METHODS) - methods:
            registry.METHODS._entries.pop(name)


def examples_of(command: str) -> Iterator[str]:
    """Yield the examples in a command's --help."""
    help_text = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200"}).output
    for line in help_text.splitlines():
        example = line.strip("│ ").strip()
        if example.startswith(f"camlens {command}"):
            yield example


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_of_help_run(command: str, desk: Path, served: list[object]) -> None:
    examples = list(examples_of(command))
    assert examples, f"camlens {command} --help has no example"
    if command == "studio":
        run_command("camlens audit photos/ --model resnet50 --output runs/photos")
    for example in examples:
        run_command(example)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_a_short_form(command: str) -> None:
    outputs = {CliRunner().invoke(app, [command, option]).output for option in ("-h", "--help")}
    assert len(outputs) == 1
    assert "Usage" in outputs.pop()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_targets_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", page.read_text(encoding="utf-8"))) <= words


def test_typer_lists_every_command() -> None:
    assert set(COMMANDS) == set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_notebook_runs_from_a_photograph_to_a_report(desk: Path) -> None:
    notebook = json.loads((ROOT / "examples" / "quickstart.ipynb").read_text(encoding="utf-8"))
    names: dict[str, object] = {"__name__": "__main__"}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), cell["id"], "exec"), names)
    assert (desk / "cat.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert (desk / "cat-maps" / "manifest.json").is_file()
