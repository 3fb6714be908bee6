#!/usr/bin/env python3
"""Start of many Python workers with heavy imports: from a template, cold, and forked by a bare zygote.

usage: start_python.py [--children 200] [--rounds 3]

From the start of the system, its own included, to the last worker's first act, in milliseconds.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import systems
from crash_restart import Acts, wait_for_all

KINDS: list[type[systems.System]] = [systems.Zygote, systems.UnirunTemplate, systems.UnirunCold, systems.ForkServer]


def measure(kind: type[systems.System], children: int) -> float:
    with tempfile.TemporaryDirectory(prefix="unirun-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        acts = Acts(folder / "fifo")
        own = folder / "system"
        own.mkdir()
        system = kind(folder=own, count=children, act=folder, fifo=folder / "fifo")
        begin = time.monotonic()
        system.start()
        try:
            wait_for_all(system, acts)
            return (time.monotonic() - begin) * 1e3
        finally:
            system.stop()
            acts.kill_survivors()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    times: dict[str, list[float]] = {kind.name: [] for kind in KINDS}
    for _ in range(options.rounds):
        for kind in KINDS:
            times[kind.name].append(measure(kind, options.children))
    cold = statistics.median(times["unirun cold"])
    print(f"start of {options.children} Python workers, boot included (ms); Python {sys.version.split()[0]}")
    print(f"{'system':16} {'p50':>8} {'cold/':>8}")
    for name, values in times.items():
        p50 = statistics.median(values)
        print(f"{name:16} {p50:8.0f} {cold / p50:8.2f}")


if __name__ == "__main__":
    main()
