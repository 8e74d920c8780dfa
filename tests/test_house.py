"""Rules of the project: exports, imports, documentation of the registries, and files."""

import importlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from tests.twins import COMPARED

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "camlens"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def project_files() -> list[Path]:
    """Files that are tracked or not ignored by git, or all files of an unpacked sdist."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if answer.returncode == 0 and answer.stdout:
        paths = [ROOT / name for name in answer.stdout.split("\0") if name]
    else:
        paths = [path for path in ROOT.rglob("*") if not set(path.relative_to(ROOT).parts) & {".venv", ".git"}]
    return sorted(path for path in paths if path.is_file())


def modules_after(statement: str) -> set[str]:
    """Top-level modules in a new interpreter after `statement`."""
    code = f"{statement}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


# Names


def test_exports_are_sorted() -> None:
    camlens = importlib.import_module("camlens")
    assert list(camlens.__all__) == sorted(camlens.__all__)


def test_exports_are_what_can_be_imported() -> None:
    camlens = importlib.import_module("camlens")
    missing = [name for name in camlens.__all__ if not hasattr(camlens, name)]
    public = {
        name for name, value in vars(camlens).items() if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert missing == []
    assert public - set(camlens.__all__) == set()


# Imports and global state


def test_importing_camlens_loads_torch_numpy_jaxtyping_and_nothing_more() -> None:
    base = modules_after("import torch, numpy, jaxtyping")
    ours = modules_after("import camlens")
    assert ours - base - {"camlens"} - sys.stdlib_module_names == set()


@pytest.mark.parametrize("path", SOURCES, ids=place)
def test_no_global_seed_is_set_and_no_finalizer_is_defined(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.findall(r"\b(?:torch|cuda|random)\.(?:manual_seed|manual_seed_all|seed)\(", text) == []
    assert "def __del__" not in text


# Documentation and registries


def documented_rows(page: str) -> list[tuple[str, str]]:
    """Name and line of each table row that starts with a name in code."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    return [(match[1], match[0]) for match in re.finditer(r"^\| `([^`]+)` \|.*$", text, flags=re.MULTILINE)]


def test_every_method_has_one_row_in_the_docs() -> None:
    methods = importlib.import_module("camlens").METHODS
    assert sorted(name for name, _ in documented_rows("methods.md")) == sorted(methods)


def test_the_readme_names_every_method_once() -> None:
    methods = importlib.import_module("camlens").METHODS
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("| kind | methods |")[2].partition("\n\n")[0]
    assert sorted(re.findall(r"`([^`]+)`", table)) == sorted(methods)


def test_every_metric_has_one_row_in_the_docs() -> None:
    metrics = importlib.import_module("camlens").METRICS
    assert sorted(name for name, _ in documented_rows("metrics.md")) == sorted(metrics)


def test_docs_rows_have_the_facts_of_their_entries() -> None:
    camlens = importlib.import_module("camlens")
    entries, wrong = {**camlens.METHODS, **camlens.METRICS}, []
    for name, row in documented_rows("methods.md") + documented_rows("metrics.md"):
        entry = entries[name]
        wanted = {entry.needs, *re.findall(r"\d{4}\.\d{5}", entry.paper)}
        wanted.add(entry.cost if name in camlens.METHODS else f"| {entry.better} |")
        wrong += [(name, fact) for fact in sorted(wanted) if fact not in row]
    assert wrong == []


def test_every_method_and_metric_is_compared_with_its_slow_twin() -> None:
    camlens = importlib.import_module("camlens")
    for folder in ("methods", "metrics"):
        for path in sorted((ROOT / "tests" / folder).rglob("test_*.py")):
            importlib.import_module(place(path).removesuffix(".py").replace("/", "."))
    assert {*camlens.METHODS, *camlens.METRICS} - COMPARED == set()


def test_every_entry_has_a_paper_its_arguments_and_its_use() -> None:
    camlens = importlib.import_module("camlens")
    entries = [*camlens.METHODS.values(), *camlens.METRICS.values()]
    assert len(entries) > len(camlens.METHODS) > 0
    assert [entry.name for entry in entries if not (entry.paper and entry.good_for and entry.needs)] == []


# Files of the project


def test_no_file_names_a_registry_host_or_a_path_of_some_machine() -> None:
    hosts = [
        "py" + "pi.org",
        "python" + "hosted.org",
        "npm" + "js.org",
        "download.py" + "torch.org",
        "conda" + ".io",
    ]
    paths = "|".join(["work", "root", "home", "opt", "Users"])
    forbidden = re.compile("|".join(map(re.escape, hosts)) + rf"|(?<![\w.~)}}\]<-])/(?:{paths})/\w")
    found = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{place(path)}: {match}" for match in forbidden.findall(text)]
    assert found == []


def test_constraints_are_exact_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][0-9A-Za-z.]*", line)] == []
    assert len({line.partition("==")[0].lower() for line in lines}) == len(lines)


def test_constraints_pin_every_package_that_the_project_names() -> None:
    def canonical(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonical(line.partition("==")[0]) for line in lines}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {canonical(re.split(r"[^A-Za-z0-9._-]", line)[0]) for group in groups for line in group}
    assert names - {"camlens"} - pinned == set()


def test_the_version_is_the_same_everywhere() -> None:
    version = importlib.import_module("camlens").__version__
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\nversion: {version}\n" in citation
    assert re.findall(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)[0] == version
