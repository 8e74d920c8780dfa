"""Growth of memory over a thousand calls."""

import gc
from collections.abc import Iterator

import psutil

from benchmarks.harness import Plan, Row
from benchmarks.networks import network, pictures
from camlens import Explainer

SETTLING = 50
ALLOWED_MB = 4.0  # pages kept by the allocator; leaking one map of layer4 per call would be 100 MB


def run(plan: Plan) -> Iterator[Row]:
    calls = 60 if plan.quick else 1000
    yield Row(f"resident memory, calls {SETTLING} to {calls}", "MB grown", grown(calls), target=ALLOWED_MB)


def grown(calls: int) -> float:
    """Return the megabytes by which the process grows after the first calls."""
    explainer, inputs = Explainer(network("resnet18"), layers="layer4"), pictures(4, 64)
    process = psutil.Process()
    settled = 0.0
    for number in range(calls):
        explainer(inputs, target=number % 1000)
        if number == SETTLING:
            gc.collect()
            settled = process.memory_info().rss
    gc.collect()
    return (process.memory_info().rss - settled) / 1e6
