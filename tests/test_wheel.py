"""What is shipped: the wheel and the sdist hold everything that the package needs, and nothing else."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "camlens"
IGNORED = {"__pycache__"}


def built(kind: str, directory: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(directory)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    return next(path for path in directory.iterdir() if path.suffix in (".whl", ".gz"))


def package_files() -> set[str]:
    """Every file of the package on disk, as it is to be found inside the wheel."""
    paths = (path for path in PACKAGE.rglob("*") if path.is_file() and not set(path.parts) & IGNORED)
    return {path.relative_to(PACKAGE.parent).as_posix() for path in paths}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    with tarfile.open(built("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def test_the_wheel_holds_every_file_of_the_package(wheel: set[str]) -> None:
    assert package_files() - wheel == set()


def test_the_wheel_holds_weights_and_the_marker_of_types(wheel: set[str]) -> None:
    assert "camlens/py.typed" in wheel
    assert {name for name in wheel if name.endswith(".safetensors")} == {
        "camlens/models/weights/photos.safetensors",
        "camlens/models/weights/watermark.safetensors",
    }


def test_the_wheel_holds_nothing_but_the_package_and_its_licence(wheel: set[str]) -> None:
    assert {name.partition("/")[0].split("-")[0] for name in wheel} == {"camlens"}
    assert any(name.endswith("licenses/LICENSE") for name in wheel)


def test_the_sdist_can_be_built_and_tested_from(sdist: set[str]) -> None:
    wanted = {"pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "README.md", "tests/conftest.py"}
    assert wanted - sdist == set()
    assert {f"src/{name}" for name in package_files()} - sdist == set()


def test_the_sdist_holds_no_environment_and_no_cache(sdist: set[str]) -> None:
    unwanted = {".venv", ".git", "node_modules", "__pycache__", ".mypy_cache", "site", "dist", "camlens-demo"}
    assert {name for name in sdist if set(name.split("/")) & unwanted} == set()
