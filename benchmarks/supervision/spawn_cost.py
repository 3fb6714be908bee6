#!/usr/bin/env python3
"""What a restart costs in a host that holds much memory: crash to first act with 0 and 500 MB resident.

usage: spawn_cost.py [--ballast-mb 500] [--kills 40] [--rounds 3]

The host proper has no reason to hold 500 MB, so this measures the process executor (executor_loop) beside the bare
floor; both fill the memory first when FLOOR_BALLAST_MB is set. Rounds take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path

import systems
from crash_restart import build, measure


class ExecutorLoop(systems.System):
    name = "process executor"

    def argv(self) -> list[str]:
        program = Path(systems.unirun_binary()).parent / "executor_loop"
        if not program.exists():
            sys.exit(f"{program} is missing: cmake --build --preset release --target executor_loop")
        return [str(program), str(self.count), str(self.act)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ballast-mb", type=int, default=500)
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gap-ms", type=float, default=20)
    options = parser.parse_args()
    options.children, options.together, options.payload = 4, False, "c"
    kinds: list[type[systems.System]] = [systems.Floor, ExecutorLoop]
    delays: dict[tuple[str, int], list[int]] = {}
    with tempfile.TemporaryDirectory(prefix="unirun-bench-") as name:
        act = build(Path(name))
        for _ in range(options.rounds):
            for kind in kinds:
                for ballast in (0, options.ballast_mb):
                    os.environ["FLOOR_BALLAST_MB"] = str(ballast)
                    delays.setdefault((kind.name, ballast), []).extend(measure(kind, act, options))
    print(f"{'system':18} {'n':>5} {'p50 us, 0 MB':>14} {f'{options.ballast_mb} MB':>10} {'ratio':>7}")
    for kind in kinds:
        without = statistics.median(delays[kind.name, 0])
        with_it = statistics.median(delays[kind.name, options.ballast_mb])
        count = len(delays[kind.name, 0])
        print(f"{kind.name:18} {count:5} {without / 1e3:14.0f} {with_it / 1e3:10.0f} {with_it / without:7.2f}")


if __name__ == "__main__":
    main()
