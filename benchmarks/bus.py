#!/usr/bin/env python3
"""The event bus beside asyncio's call_soon_threadsafe: both in turn, medians, ratios, targets.

usage: bus.py [--rounds 5] [--one-cpu] [--check]

Exit code with --check: 1 if a target is missed by more than a quarter, which is noise no more.
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

HERE = Path(__file__).resolve().parent
RIVAL = HERE / "framework" / "call_soon_threadsafe.py"
MARGIN = 1.25


def bench_binary() -> Path:
    """Where the build left event_bus_bench: beside the binary under test, else in build/release."""
    beside = os.environ.get("UNIRUN_BINARY")
    folder = Path(beside).parent if beside else HERE.parent / "build" / "release" / "bin"
    path = folder / "event_bus_bench"
    if not path.exists():
        sys.exit(f"{path} is missing: cmake --preset release && cmake --build --preset release")
    return path


def measure(command: list[str], one_cpu: bool) -> dict[str, tuple[float, str]]:
    """Run one side once; metric -> (value, unit)."""
    pin = ["taskset", "-c", "0"] if one_cpu else []
    output = subprocess.run([*pin, *command], check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in output.splitlines()]
    return {row["metric"]: (row["value"], row["unit"]) for row in rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each side (default 5)")
    parser.add_argument("--one-cpu", action="store_true", help="pin each side to CPU 0")
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    if busy > 1:
        print(f"the machine is busy (load {busy:.1f}): expect the rates across threads to suffer\n")

    sides = {"unirun": [str(bench_binary())], "asyncio": [sys.executable, str(RIVAL)]}
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    units: dict[str, str] = {}
    for _ in range(options.rounds):
        for side, command in sides.items():
            for metric, (value, unit) in measure(command, options.one_cpu).items():
                values[side, metric].append(value)
                units[metric] = unit
    median = {key: statistics.median(row) for key, row in values.items()}

    print(f"{'metric':24} {'unirun':>12} {'asyncio':>12} {'ratio':>7}  unit")
    for metric, unit in units.items():
        ours, theirs = median["unirun", metric], median.get(("asyncio", metric))
        if theirs is None:
            print(f"{metric:24} {ours:12.4g} {'':12} {'':7}  {unit}")
        else:
            ratio = ours / theirs if unit == "events/s" else theirs / ours
            print(f"{metric:24} {ours:12.4g} {theirs:12.4g} {ratio:6.1f}x  {unit}")

    # (what, reached, target, more is better)
    targets = [
        ("a delivery in a thread, ns", median["unirun", "delivery"], 5.0, False),
        ("no subscriber, ns", median["unirun", "no_subscriber"], 3.0, False),
        (
            "burst across threads, x call_soon_threadsafe",
            median["unirun", "across_burst"] / median["asyncio", "across_burst"],
            25.0,
            True,
        ),
        (
            "single event across threads, x call_soon_threadsafe",
            median["asyncio", "across_single_p50"] / median["unirun", "across_single_p50"],
            1.7,
            True,
        ),
    ]
    missed = False
    print()
    for what, reached, target, more in targets:
        good = reached >= target if more else reached <= target
        far_off = reached * MARGIN < target if more else reached > target * MARGIN
        missed = missed or far_off
        word = "reached" if good else "MISSED"
        print(f"{word:8} {what}: {reached:.3g}, target {'>=' if more else '<='} {target:g}")
    sys.exit(1 if missed and options.check else 0)


if __name__ == "__main__":
    main()
