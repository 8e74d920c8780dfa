"""Print benchmark tables: `python -m benchmarks [GROUP ...] [--quick] [--write]`."""

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
OPTIONAL = ("attributions",)  # takes minutes: `make bench-attributions`
RESULTS = Path(__file__).with_name("RESULTS.md")
_PACKAGES = ("camlens", "torch", "torchvision", "numpy", "captum", "grad-cam", "torchcam", "lime")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the chosen groups and print a table for each."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "groups", nargs="*", metavar="GROUP", help=f"{', '.join(GROUPS)} (default: all of these), {', '.join(OPTIONAL)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="Use small networks and few rounds, to check that everything runs."
    )
    parser.add_argument("--write", action="store_true", help="Also write the tables to benchmarks/RESULTS.md.")
    chosen = parser.parse_args(arguments)
    unknown = [name for name in chosen.groups if name not in GROUPS + OPTIONAL]
    if unknown:
        parser.error(f"unknown group {', '.join(unknown)}; groups are {', '.join(GROUPS + OPTIONAL)}")
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
    """Replace the table of one group in RESULTS.md."""
    before = RESULTS.read_text(encoding="utf-8") if RESULTS.exists() else ""
    _, *known = re.split(r"^(?=## )", before, flags=re.MULTILINE)
    sections = {section.split(maxsplit=2)[1]: section.strip() for section in known} | {group: part}
    ordered = [sections[name] for name in GROUPS + OPTIONAL if name in sections]
    RESULTS.write_text("\n\n".join([head, *ordered]) + "\n", encoding="utf-8")


def rows_of(group: str, plan: Plan) -> list[Row]:
    """Return the rows of one group, without the warnings about empty maps of random weights."""
    module = importlib.import_module(f"benchmarks.{group}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(module.run(plan))


def heading(plan: Plan) -> str:
    """Return the title and a paragraph on how the figures were measured."""
    quick = (
        "\n\nThis was a quick run, which only checks that everything runs: its figures mean nothing."
        if plan.quick
        else ""
    )
    return (
        f"# Benchmarks\n\n"
        f"Ratios are relative to the plain eager forward pass under inference mode; float32, {plan.size} x "
        f"{plan.size}, random weights. All candidates run in one process, in random order in each of {plan.rounds} "
        f"rounds ({plan.single_rounds} for single images), without garbage collection while timing. The tables show "
        f"the ratio of medians and the ratio of minima; targets apply to the median.{quick}"
    )


def conditions() -> str:
    """Describe the machine and the versions of the packages."""
    lines = [
        f"- machine: {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.system()}",
        f"- python {platform.python_version()}, " + ", ".join(map(installed, _PACKAGES)),
    ]
    return "\n".join(lines)


def busy() -> str:
    """Return a warning if other work is using the machine, else an empty string."""
    used = psutil.cpu_percent(interval=1)
    if used <= 20:
        return ""
    return f"**The machine was busy** ({used:.0f} % before the first round): repeat the measurement when it is idle."


def processor() -> str:
    """Return the name of the processor, or of its architecture if the name is unknown."""
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
