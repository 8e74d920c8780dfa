"""A thousand random cases with a fixed seed, run as `make fuzz` does: without the shape checks of the other tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SEED, CASES, PARTS = 11, 1000, 4


@pytest.mark.parametrize("part", range(PARTS))
def test_random_cases_break_no_promise(part: int) -> None:
    size = CASES // PARTS
    arguments = ["--seed", str(SEED), "--start", str(part * size), "--cases", str(size)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *arguments],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    counts = [
        int(count)
        for pattern in (r"(\d+) cases", r"(\d+) struck", r"explained (\d+)")
        for count in re.findall(pattern, ran.stdout)
    ]
    cases, struck, explained = counts
    assert cases == size
    assert struck > size / 5
    assert explained > size / 2
