"""The installed wheel serves the page by its own command."""

import json
import os
import subprocess
import sys
import sysconfig
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from camlens import __version__
from camlens.studio.app import PAGE

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PAGE / "index.html").is_file(), reason="the page is not built: make studio-ui"),
]
ORIGINS = """
import importlib, json, pkgutil, sys
import camlens
from importlib.metadata import distribution
names = ["camlens.cli.main", "camlens.studio.app", "camlens.render.interactive.page", "camlens.models.demo"]
files = [importlib.import_module(name).__file__ for name in names]
print(json.dumps({"files": files, "metadata": str(distribution("camlens").locate_file("")), "path": sys.path}))
"""


def ours(name: str) -> bool:
    """Return whether an entry of site-packages provides camlens, or a hook to it."""
    return "camlens" in name.lower() or name.startswith("__editable__") or name.endswith(".pth")


def environment() -> dict[str, str]:
    """Return the environment variables without those that lead Python to the source tree."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_", "VIRTUAL_ENV"))}
    return {**kept, "CI": "true"}


class Installed:
    """An isolated environment: camlens is the wheel, other packages are links to those of this environment."""

    def __init__(self, place: Path, wheel: Path) -> None:
        run([sys.executable, "-m", "venv", "--without-pip", str(place)])
        self.place = place
        self.python = place / "bin" / "python"
        (self.site,) = (place / "lib").glob("python*/site-packages")
        for entry in Path(sysconfig.get_path("purelib")).iterdir():
            if not ours(entry.name):
                (self.site / entry.name).symlink_to(entry)
        self.before = self.ask("import camlens")
        run(
            [
                sys.executable,
                "-m",
                "pip",
                "--python",
                str(self.python),
                "install",
                "--no-deps",
                "--no-index",
                str(wheel),
            ]
        )
        self.command = place / "bin" / "camlens"

    def ask(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run this environment's Python outside the source tree and return its output."""
        command = [str(self.python), "-c", code]
        return subprocess.run(command, cwd=self.place, env=environment(), capture_output=True, text=True, timeout=120)


def run(command: list[str]) -> None:
    answer = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stdout[-2000:] + answer.stderr[-2000:]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the sdist, and the wheel built from it."""
    place = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place), str(ROOT)])
    return place


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    (wheel,) = built.glob("*.whl")
    return Installed(tmp_path_factory.mktemp("clean") / "venv", wheel)


@pytest.fixture(scope="module")
def address(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the address of the page served by the installed command."""
    running = subprocess.Popen(
        [str(installed.command), "studio", "--port", "0", "--no-browser", "--token", "none"],
        cwd=tmp_path_factory.mktemp("elsewhere"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        line = running.stdout.readline()
        assert line.startswith("camlens studio: http://127.0.0.1:"), running.stderr.read()
        yield line.split()[-1].rstrip("/")
    finally:
        running.terminate()
        running.communicate(timeout=20)


def fetched(address: str, body: object = None) -> bytes:
    """Return the answer as soon as it is not a 503."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address, data, {"content-type": "application/json"})
    for _ in range(300):
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                body: bytes = answer.read()
                return body
        except OSError:  # not listening yet, or the model is still loading
            time.sleep(0.1)
    raise AssertionError(f"{address} did not answer")


def test_wheel_and_sdist_contain_the_built_page(built: Path, installed: Installed) -> None:
    import tarfile

    assert (installed.site / "camlens/studio/static/index.html").is_file()
    assert (installed.site / "camlens/render/interactive/static/overlay.js").is_file()
    assert list((installed.site / "camlens").rglob("*.svelte")) == []
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {"src/camlens/studio/static/index.html", "src/camlens/render/interactive/static/overlay.js"} <= names
    assert [name for name in names if "node_modules" in name] == []


def test_camlens_is_imported_from_the_wheel(installed: Installed) -> None:
    assert "No module named 'camlens'" in installed.before.stderr
    answer = installed.ask(ORIGINS)
    assert answer.returncode == 0, answer.stderr
    origins = json.loads(answer.stdout)
    site = str(installed.site)
    assert all(file.startswith(f"{site}/camlens/") for file in origins["files"])
    assert origins["metadata"].rstrip("/") == site
    assert [path for path in origins["path"] if path.startswith(str(ROOT))] == []


def test_the_installed_command_serves_the_page(address: str) -> None:
    import re

    page = fetched(f"{address}/").decode()
    assert '<div id="app">' in page
    (script,) = re.findall(r'src="(/assets/[^"]+\.js)"', page)
    (style,) = re.findall(r'href="(/assets/[^"]+\.css)"', page)
    assert len(fetched(address + script)) > 50_000
    assert b"--ground" in fetched(address + style)


def test_the_installed_studio_explains_with_the_packaged_models(address: str) -> None:
    status = json.loads(fetched(f"{address}/api/status"))
    assert status["version"] == __version__
    answer = json.loads(fetched(f"{address}/api/explanations?wait=60", {"image": "s12"}))
    assert answer["state"] == "done"
    assert answer["result"]["maps"][0]["state"] == "good"
    assert answer["result"]["predictions"][0]["index"] == answer["result"]["image"]["label"]
