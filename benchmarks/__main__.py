"""`python -m benchmarks [GROUP ...] [--quick] [--write]`: print the tables; --write keeps those of these groups."""

import argparse
import importlib
import os
import platform
import re
import warnings
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil
import torch

from benchmarks.harness import Plan, Row, table

GROUPS = ("cam", "memory", "perturbation", "optimized", "threads", "loop", "imports")
ASKED_FOR = ("attributions",)  # minutes of its own: `make bench-attributions`
RESULTS = Path(__file__).with_name("RESULTS.md")
_PACKAGES = ("camlens", "torch", "torchvision", "numpy", "captum", "grad-cam", "torchcam", "lime")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen groups and print one table for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)} (all by default), {', '.join(ASKED_FOR)}"
    )
    parser.add_argument("--quick", action="store_true", help="small networks, few rounds: does it all run?")
    parser.add_argument("--write", action="store_true", help="write benchmarks/RESULTS.md as well")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.groups if name not in GROUPS + ASKED_FOR]
    if unknown:
        parser.error(f"there is no group {', '.join(unknown)}; groups are {', '.join(GROUPS + ASKED_FOR)}")
    plan = Plan(quick=chosen.quick)
    print(f"{heading(plan)}\n\n{conditions()}", flush=True)
    for name in chosen.groups or GROUPS:
        warned = busy()
        rows = table(rows_of(name, plan))
        part = "\n\n".join(filter(None, [f"## {name}", warned, rows]))
        print(f"\n{part}", flush=True)
        if chosen.write:
            keep(part, name, f"{heading(plan)}\n\n{conditions()}")


def keep(part: str, group: str, head: str) -> None:
    """Write one group's table into RESULTS.md, in the place of its last one; the other groups' stay."""
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    _, *known = re.split(r"^(?=## )", before, flags=re.MULTILINE)
    sections = {section.split(maxsplit=2)[1]: section.strip() for section in known} | {group: part}
    ordered = [sections[name] for name in GROUPS + ASKED_FOR if name in sections]
    RESULTS.write_text("\n\n".join([head, *ordered]) + "\n", encoding="utf-8")


def rows_of(group: str, plan: Plan) -> list[Row]:
    """The rows of one group; maps of random weights are often empty, and say so each time."""
    module = importlib.import_module(f"benchmarks.{group}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(module.run(plan))


def heading(plan: Plan) -> str:
    """What the figures are, and how they were taken."""
    quick = "\n\nA quick run: it shows that everything runs, and its figures mean nothing." if plan.quick else ""
    return (
        f"# Benchmarks\n\n"
        f"Ratios to the plain eager forward pass under inference mode, float32, {plan.size} x {plan.size}, "
        f"random weights. {plan.rounds} rounds ({plan.single_rounds} of one image's maps), the candidates in random "
        f"order each round, one process, no garbage collection while timing; median of the rounds, and the same from "
        f"the minima. Targets are held against the median.{quick}"
    )


def conditions() -> str:
    """Machine, versions, and how busy the machine was."""
    lines = [
        f"- machine: {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.system()}",
        f"- python {platform.python_version()}, " + ", ".join(map(installed, _PACKAGES)),
    ]
    return "\n".join(lines)


def busy() -> str:
    """A warning where other work is using the machine right now: then the figures cannot be trusted."""
    used = psutil.cpu_percent(interval=1)
    if used <= 20:
        return ""
    return f"**The machine was busy** ({used:.0f} % of it before the first round): measure again when idle."


def processor() -> str:
    """The processor's name where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def installed(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return f"no {package}"


if __name__ == "__main__":
    main()
