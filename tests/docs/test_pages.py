"""Pictures exist, all pages are in the navigation, and code imports public modules only."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from tests.docs.pages import PAGES, ROOT, blocks

PUBLIC = {
    "camlens",
    *(f"camlens.{room}" for room in ("audit", "data", "metrics", "models", "render", "targets", "testing")),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pictures_exist_and_are_no_placeholders(page: Path) -> None:
    for link in re.findall(r"!\[[^\]]+\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
        picture = page.parent / link
        assert picture.is_file(), f"{page.name}: {link} is missing"
        assert b"placeholder" not in picture.read_bytes()[:2048], f"draw {link} with scripts/docs_pictures.py"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if f" {page.name}\n" not in navigation]
    assert missing == []


def test_the_files_that_the_architecture_names_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w./-]+(?:/|\.(?:py|ts|svelte|md|json)))`", text))
    places = (ROOT / "src" / "camlens", ROOT)
    assert [name for name in sorted(named) if "NAME" not in name and not any((p / name).exists() for p in places)] == []


def code_of(path: Path) -> list[str]:
    if path.suffix == ".py":
        return [path.read_text(encoding="utf-8")]
    return [block.text for block in blocks(path) if block.language == "python"]


@pytest.mark.parametrize("path", [*PAGES, *sorted((ROOT / "examples").glob("*.py"))], ids=lambda path: path.name)
def test_pages_and_examples_import_public_modules_only(path: Path) -> None:
    imported = [
        module
        for code in code_of(path)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names])
    ]
    assert {module for module in imported if module.partition(".")[0] == "camlens"} <= PUBLIC


def test_the_api_reference_is_complete_and_names_public_modules_only() -> None:
    documented = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    rooms = PUBLIC | {f"camlens.metrics.{name}" for name in importlib.import_module("camlens.metrics").__all__}
    for name in documented:
        module, _, last = name.rpartition(".")
        assert name in rooms or (module in PUBLIC and hasattr(importlib.import_module(module), last)), name
    camlens = importlib.import_module("camlens")
    registries = {"METHODS", "METRICS"}  # which have pages of their own
    assert {f"camlens.{name}" for name in camlens.__all__ if name not in registries} <= set(documented)
