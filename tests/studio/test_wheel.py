"""The wheel has the built page in it, and serves it without the source tree."""

import os
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import pytest

from camlens.studio.app import PAGE

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (PAGE / "index.html").is_file(), reason="the page is not built: make studio-ui"),
]
SERVE = """
import sys
import camlens
assert camlens.__file__.startswith(sys.argv[1]), camlens.__file__
sys.argv = ["camlens", "studio", "--port", "0", "--no-browser", "--token", "none"]
from camlens.cli.main import run
run()
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the tree and unpacked where nothing else of the tree is."""
    place = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True, timeout=200)
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "site")
    return place / "site"


def test_the_wheel_holds_page_and_script_but_not_their_sources(installed: Path) -> None:
    assert (installed / "camlens/studio/static/index.html").is_file()
    assert (installed / "camlens/render/interactive/static/overlay.js").is_file()
    assert list(installed.rglob("*.svelte")) == []


def test_the_wheel_serves_the_page(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed), "CI": "true"}
    running = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(installed)],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    try:
        line = running.stdout.readline()
        assert line.startswith("camlens studio: http://127.0.0.1:"), running.stderr.read()
        base = line.split()[-1]
        answer = b""
        for _ in range(200):
            try:
                with urllib.request.urlopen(base, timeout=5) as page:
                    answer = page.read()
                break
            except OSError:
                time.sleep(0.1)
        assert b'<div id="app">' in answer
    finally:
        running.terminate()
        running.communicate(timeout=20)
