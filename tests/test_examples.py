"""The examples run as they are printed, in a process of their own, and leave the picture they promise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
WITHOUT_PICTURE = {"own_method.py", "audit_sql.py"}


def run(example: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    surroundings = {**os.environ, "PYTHONWARNINGS": "error::DeprecationWarning", "OMP_NUM_THREADS": "2"}
    command = [sys.executable, str(example)]
    return subprocess.run(command, cwd=directory, env=surroundings, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_runs_and_writes_its_picture(example: Path, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    finished = run(example, tmp_path)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip()
    pictures = list(tmp_path.glob("*.png"))
    assert len(pictures) == (0 if example.name in WITHOUT_PICTURE else 1)
    for picture in pictures:
        with image.open(picture) as opened:
            low, high = opened.convert("L").getextrema()
            assert opened.width >= 128
            assert high - low > 64


def test_the_own_method_beats_chance(tmp_path: Path) -> None:
    lines = run(ROOT / "examples" / "own_method.py", tmp_path).stdout.splitlines()
    shares = {line.split()[0]: float(line.split()[1].rstrip("%")) for line in lines}
    assert shares["gradcam"] > shares["random"]
    assert shares["gradient-energy"] > shares["random"]


def test_duckdb_and_polars_see_the_cheating_model_s_corner(tmp_path: Path) -> None:
    lines = run(ROOT / "examples" / "audit_sql.py", tmp_path).stdout.splitlines()
    corner = next(line for line in lines if line.endswith("images") and "in the corners" in line)
    assert corner.split(":")[0].strip() == "pagoda"
    assert float(corner.split()[1].rstrip("%")) > 15
