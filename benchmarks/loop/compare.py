#!/usr/bin/env python3
"""asyncio on unirun's loop beside the default loop: both in turn, medians, ratios, targets.

usage: compare.py [--rounds 5] [--free] [--check]

Both sides share one CPU with their clients, unless --free. Exit code with --check: 1 if a target is missed by more
than a quarter, which is noise no more.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

MEASURE = Path(__file__).resolve().parent / "measure.py"
MARGIN = 1.25

# What the ratio of a rate to the default loop's is to reach.
RATIOS = {
    "call_soon_batches": 1.5,
    "call_soon_single": 1.2,
    "sleep_zero": 1.3,
    "timers": 2.0,
    "thread_burst": 3.0,
    "gather": 1.1,
    "echo_protocols_32": 1.0,
    "echo_streams_32": 1.0,
}
LATENESS_US = 150.0


def measure(loop: str, free: bool) -> dict[str, tuple[float, str]]:
    """Run one side once; metric -> (value, unit)."""
    pin = [] if free else ["taskset", "-c", "0"]
    command = [*pin, sys.executable, str(MEASURE), loop]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in output.splitlines()]
    return {row["metric"]: (row["value"], row["unit"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--free", action="store_true", help="let the system choose the CPUs")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    if busy > 1:
        print(f"the machine is busy (load {busy:.1f}): expect lateness and echoes to suffer\n")

    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    units: dict[str, str] = {}
    for _ in range(options.rounds):
        for loop in ("default", "unirun"):
            for metric, (value, unit) in measure(loop, options.free).items():
                values[loop, metric].append(value)
                units[metric] = unit
    median = {key: statistics.median(row) for key, row in values.items()}

    print(f"{'metric':24} {'unirun':>12} {'default':>12} {'ratio':>7}  unit")
    ratios: dict[str, float] = {}
    for metric, unit in units.items():
        ours, theirs = median["unirun", metric], median["default", metric]
        # Pairs: what disturbs the machine disturbs both sides of one round.
        pairs = zip(values["unirun", metric], values["default", metric], strict=True)
        ratios[metric] = statistics.median(a / b for a, b in pairs)
        print(f"{metric:24} {ours:12.4g} {theirs:12.4g} {ratios[metric]:6.2f}x  {unit}")

    print()
    missed = False
    for metric, target in RATIOS.items():
        missed = missed or ratios[metric] * MARGIN < target
        word = "reached" if ratios[metric] >= target else "MISSED"
        print(f"{word:8} {metric}: {ratios[metric]:.2f}x the default loop, target >= {target:g}x")
    late, earliest = median["unirun", "timer_late_p50"], min(values["unirun", "timer_late_min"])
    missed = missed or late > LATENESS_US * MARGIN or earliest < 0
    print(
        f"{'reached' if late <= LATENESS_US else 'MISSED':8} timers late p50: {late:.0f} us, target <= {LATENESS_US:g}"
    )
    print(f"{'reached' if earliest >= 0 else 'MISSED':8} timers never early: {earliest:.1f} us at the least")
    sys.exit(1 if missed and options.check else 0)


if __name__ == "__main__":
    main()
