#!/usr/bin/env python3
"""What `import unirun` takes beyond `import concurrent.futures`: whole interpreters, in turns.

usage: imports.py [--cpus 0] [--rounds 30]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import pool_bench as bench

REACH_MS = 25.0
PAIRS = [
    ("import concurrent.futures", "import unirun", REACH_MS),
    (
        "from concurrent.futures import ThreadPoolExecutor",
        "from unirun.executors.threads import ThreadPoolExecutor",
        None,
    ),
    (
        "from concurrent.futures import ProcessPoolExecutor",
        "from unirun.executors.processes import ProcessPoolExecutor",
        None,
    ),
]


def milliseconds(code: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - began) * 1e3


def main() -> None:
    options = bench.options_of(__doc__, rounds=30)
    print(f"{'over':>9}  {'reach':>6}  {'':6}  {'unirun':>9}  {'standard':>9}  what")
    for standard, ours, reach in PAIRS:
        pairs = [(milliseconds(standard), milliseconds(ours)) for _ in range(options.rounds)]
        over = statistics.median(mine - theirs for theirs, mine in pairs)
        verdict = "" if reach is None else "met" if over <= reach else "MISSED"
        theirs, mine = (statistics.median(side) for side in zip(*pairs, strict=True))
        goal = "" if reach is None else f"{reach:g} ms"
        print(f"{over:6.1f} ms  {goal:>6}  {verdict:6}  {mine:6.1f} ms  {theirs:6.1f} ms  {ours}")


if __name__ == "__main__":
    main()
