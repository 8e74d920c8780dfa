"""The documentation and the code agree: snippets compile, names exist, pictures are there."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def snippets(page: Path, language: str) -> list[str]:
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def imported(code: str) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("camlens"):
            yield from ((node.module or "", alias.name) for alias in node.names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_snippets_compile_and_import_what_exists(page: Path) -> None:
    for code in snippets(page, "python"):
        for module, name in imported(code):
            assert hasattr(importlib.import_module(module), name), f"{module} has no {name}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_explain_is_called_with_methods_and_settings_that_exist(page: Path) -> None:
    camlens = importlib.import_module("camlens")
    settings = set(importlib.import_module("camlens.settings").Settings.__dataclass_fields__)
    allowed = settings | {"method", "layers", "target", "args", "kwargs"}
    own = {"gradient-energy"}
    for code in snippets(page, "python"):
        for call in ast.walk(ast.parse(code)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) in ("explain", "Explainer"):
                named = {keyword.arg: keyword.value for keyword in call.keywords}
                assert set(named) <= allowed
                methods = [
                    node.value for node in ast.walk(named.get("method", call.func)) if isinstance(node, ast.Constant)
                ]
                assert set(methods) <= set(camlens.METHODS) | own


def command_options() -> dict[str, set[str]]:
    """The options of each command of the command line, by the command's name."""
    typer = pytest.importorskip("typer")
    main = importlib.import_module("camlens.cli.main")
    commands = dict(typer.main.get_command(main.app).commands)
    for name, (module, _) in main.OPTIONAL.items():  # these know their options when they are called
        inner = typer.Typer(add_completion=False)
        inner.command(name=name)(getattr(importlib.import_module(module), name))
        commands[name] = typer.main.get_command(inner)
    return {
        name: {option for parameter in command.params for option in parameter.opts} | {"--help"}
        for name, command in commands.items()
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_docs_exist_with_their_options(page: Path) -> None:
    known = command_options()
    for code in [*snippets(page, "shell"), *snippets(page, "console")]:
        for line in code.replace("\\\n", " ").splitlines():
            if not line.removeprefix("$ ").startswith("camlens "):
                continue
            words = shlex.split(line.removeprefix("$ "), comments=True)
            if words[:1] == ["camlens"] and not words[1].startswith("-"):
                assert words[1] in known, line
                options = {word for word in words[2:] if word.startswith("-")}
                assert options - known[words[1]] == set(), line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_make_words_in_the_docs_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    words = set(re.findall(r"^([a-z]+):", makefile, flags=re.MULTILINE))
    said = re.findall(r"`make ([a-z]+)", page.read_text(encoding="utf-8"))
    for code in snippets(page, "shell"):
        said += re.findall(r"^make ([a-z]+)", code, flags=re.MULTILINE)
    assert set(said) <= words


def is_drawn(picture: Path) -> bool:
    return b"placeholder" not in picture.read_bytes()[:2048]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_exist_and_are_drawn(page: Path) -> None:
    for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        picture = page.parent / link
        assert picture.is_file(), f"{page.name}: {link} is missing"
        assert is_drawn(picture), f"{link} is to be drawn by scripts/docs_pictures.py"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f" {page.name}\n" not in navigation]
    assert missing == []
