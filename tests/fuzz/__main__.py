"""Fuzz `explain`: random models, methods and exceptions.

Each failure is printed with the number of its case and the command that runs that case alone.
"""

import argparse
import os
import signal
import sys
import time
import traceback
from collections import Counter

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs in the background


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="Seed of all cases (default: 0).")
    parser.add_argument("--start", type=int, default=0, help="Number of the first case (default: 0).")
    parser.add_argument("--cases", type=int, help="Number of cases (default: 1000, or unlimited with --minutes).")
    parser.add_argument("--minutes", type=float, help="Stop after this time.")
    parser.add_argument("--verbose", action="store_true", help="Print each case before it runs.")
    arguments = parser.parse_args()
    os.environ.setdefault("CAMLENS_OFFLINE", "1")

    import torch

    from tests.fuzz.cases import make_case
    from tests.fuzz.checks import run

    torch.set_num_threads(1)
    unlimited = sys.maxsize if arguments.minutes else 1000
    count = arguments.cases if arguments.cases is not None else unlimited
    end = time.monotonic() + 60 * arguments.minutes if arguments.minutes else float("inf")
    outcomes: Counter[str] = Counter()
    failed = struck = 0
    began = time.process_time()
    for number in range(arguments.start, arguments.start + count):
        if time.monotonic() > end:
            break
        case = make_case(arguments.seed, number)
        if arguments.verbose:
            print(f"case {number}: {case.describe()}", flush=True)
        try:
            report = run(case)
            failures = report.failures
            outcomes[report.outcome] += 1
            struck += report.struck
        except Exception:  # noqa: BLE001 - printed with its case
            failures = [traceback.format_exc()]
        if failures:
            failed += 1
            print(f"case {number} ({', '.join(case.methods)}, {case.surroundings}, {case.exception}):")
            print("".join(f"  {failure}\n" for failure in failures), end="")
            print(f"  python -m tests.fuzz --seed {arguments.seed} --start {number} --cases 1 --verbose", flush=True)
    ran = sum(outcomes.values())
    seconds = time.process_time() - began
    print(f"{ran} cases, {struck} struck by an exception, {failed} failed; {seconds / max(ran, 1):.3f} s of CPU each")
    print(", ".join(f"{outcome} {number}" for outcome, number in outcomes.most_common()))
    return 1 if failed else 0


sys.exit(main())
