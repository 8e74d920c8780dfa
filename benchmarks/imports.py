"""Time of `import camlens` after torch and numpy, in a fresh interpreter each."""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.harness import Plan, Row

TIMED = """
import sys, time
import torch, numpy
start = time.perf_counter()
import jaxtyping
before, middle = set(sys.modules), time.perf_counter()
import camlens
end = time.perf_counter()
added = {name.partition('.')[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print((end - start) * 1000, (end - middle) * 1000, ','.join(sorted(added - {'camlens', 'torch', 'numpy'})))
"""


def run(plan: Plan) -> Iterator[Row]:
    # without cached bytecode, this would time the compiler
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", TIMED]
    answers = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
        for _ in range(1 if plan.quick else plan.rounds + 1)
    ][-plan.rounds :]
    totals, own = ([float(answer[place]) for answer in answers] for place in (0, 1))
    note = f"camlens itself {statistics.median(own):.0f} ms, the rest is jaxtyping"
    yield Row(
        "import camlens after torch and numpy",
        "ms",
        statistics.median(totals),
        min(totals),
        100.0,
        note=note,
    )
    packages = answers[-1][2].split(",") if len(answers[-1]) > 2 else []
    yield Row("packages beyond torch, numpy, jaxtyping", "", len(packages), target=0.0, note=" ".join(packages))
