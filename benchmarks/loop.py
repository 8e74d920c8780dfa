"""A thousand calls in a row: what the process holds afterwards that it did not hold before."""

import gc
from collections.abc import Iterator

import psutil

from benchmarks.harness import Plan, Row
from benchmarks.networks import network, pictures
from camlens import Explainer

SETTLING = 50
ALLOWED_MB = 4.0  # pages that the allocator takes and keeps; a leaked map of layer4 alone would be 100 MB


def run(plan: Plan) -> Iterator[Row]:
    calls = 60 if plan.quick else 1000
    yield Row(f"resident memory, calls {SETTLING} to {calls}", "MB grown", grown(calls), target=ALLOWED_MB)


def grown(calls: int) -> float:
    """Megabytes between the settled process and the last call; small images, since a leak does not care."""
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
