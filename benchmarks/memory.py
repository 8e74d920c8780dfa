"""How much memory a pass needs: growth of the highest resident size, each in a process of its own.

In some processes, of the plain forward pass as well, the allocator takes one more block of 100 MB than in others. Of
several processes the least counts, then: more than that is chance. The note holds all of them.
"""

import resource
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Plan, Row
from benchmarks.networks import CLASS, FORWARD, network, peers, pictures, plain_forward

OURS = "camlens"
EVERY_LAYER = "all convolutions"
PEERS = ("captum", "pytorch-grad-cam", "torchcam")
_BYTES = 1 if sys.platform == "darwin" else 1024


def run(plan: Plan) -> Iterator[Row]:
    name, batch = ("resnet18", 2) if plan.quick else ("resnet50", 32)
    case = f"memory over base, {name}, batch {batch}"
    times = 1 if plan.quick else 5
    held: dict[str, list[float]] = {FORWARD: [], OURS: []}
    for _ in range(times):
        for who, seen in held.items():
            seen.append(grown(who, name, batch, plan.size))
    for who in () if plan.quick else PEERS:
        held[who] = [grown(who, name, batch, plan.size)]
    base = min(held[FORWARD])
    for who, seen in held.items():
        note = f"{', '.join(f'{one / 1e6:.0f}' for one in sorted(seen))} MB"
        if who == FORWARD:
            yield Row(f"{case}: {who}", "MB", base / 1e6, note=note)
        else:
            ratio, target = min(seen) / base if base else float("nan"), 1.15 if who == OURS else None
            yield Row(f"{case}: {who}", f"x {FORWARD}", ratio, target=target, note=note)
    few = batch // 2
    megabytes = grown(EVERY_LAYER, name, few, plan.size) / 1e6
    yield Row(f"memory over base, {name}, batch {few}: {EVERY_LAYER}", "MB", megabytes)


def grown(who: str, name: str, batch: int, size: int) -> float:
    """Bytes by which a fresh process grows at its highest, or NaN where it fails."""
    command = [sys.executable, "-m", "benchmarks.memory", who, name, str(batch), str(size)]
    root = Path(__file__).parents[1]
    answer = subprocess.run(command, capture_output=True, text=True, cwd=root)
    return float(answer.stdout.split()[-1]) if answer.returncode == 0 else float("nan")


def highest() -> int:
    """The most bytes this process has held. Linux's own mark begins anew with a program; getrusage's is inherited."""
    status = Path("/proc/self/status")
    if status.is_file():
        mark = next((line for line in status.read_text().splitlines() if line.startswith("VmHWM:")), None)
        if mark is not None:
            return int(mark.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES


def weigh(who: str, name: str, batch: int, size: int) -> int:
    """Bytes that one pass adds to this process, after a pass of one image has set everything up."""
    from camlens import Explainer
    from camlens.core.layers import conv_layers

    model = network(name)
    if who == EVERY_LAYER:
        everywhere = Explainer(model, layers=[convolution for convolution, _ in conv_layers(model)])

    def candidate(count: int) -> object:
        inputs = pictures(count, size)
        if who == FORWARD:
            return plain_forward(model, inputs)()
        if who == OURS:
            return Explainer(model, layers="layer4")(inputs, target=CLASS)
        if who == EVERY_LAYER:
            return everywhere(inputs, target=CLASS)
        return peers(model, "layer4", inputs)[who]()

    candidate(1)
    before = highest()
    candidate(batch)
    return highest() - before


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    print(weigh(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
