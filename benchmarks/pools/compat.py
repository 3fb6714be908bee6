#!/usr/bin/env python3
"""What a program gains that changes only its import: the pools of `unirun.compat`, and `asyncio.to_thread`, in turns.

usage: compat.py [--cpus 0] [--rounds 5]

The third side are the native pools themselves, whose gain compat is to keep 80 % of; import costs come last.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import statistics
from typing import Any

import bridge
import imports
import pool_bench as bench
import processes
import threads
from pool_bench import Engine, Measure, Run

import unirun
from unirun import compat

SHARE = 0.8
IMPORT_MS = 15.0
THREADS = [
    Measure("submit, caller's cost", "us", bench.submit_cost(10_000)),
    Measure("submit 10,000, result() each", "/s", bench.batch(10_000)),
    Measure("round trip", "us", bench.round_trip(3_000)),
    Measure("map of 10,000", "/s", bench.mapped(10_000)),
    Measure("start to first result", "us", bench.start(50), alone=True),
]
PROCESSES = [
    Measure("submit, caller's cost", "us", bench.submit_cost(5_000)),
    Measure("submit 10,000, result() each", "/s", bench.batch(10_000)),
    Measure("round trip", "us", bench.round_trip(1_000)),
    Measure("map of 50,000, chunks of 64", "/s", bench.mapped(50_000, 64)),
    Measure("1 MiB of bytes there and back", "ms", bench.round_trip(100, bytes(processes.MIB))),
]
BRIDGE = [
    Measure("to_thread, round trip", "us", bridge.round_trip, one_cpu=2, free=2),
    Measure("gather of 5,000", "/s", bridge.gather, one_cpu=2, free=2),
]


def engines(kind: str, flavor: str) -> list[Engine]:
    return [
        Engine("standard", getattr(concurrent.futures, kind)),
        Engine("compat", getattr(compat, kind)),
        Engine("native", bench.native(flavor, kind)),
    ]


def tell_shares(run: Run) -> None:
    for measure in run.measures:
        share = run.ratio(measure, "native")
        assert share is not None
        print(f"{share:6.0%} of the native gain  {'met' if share >= SHARE else 'MISSED':6}  {measure.name}")
    print()


def tell_import(options: Any) -> None:
    ours, standard = "import unirun.compat.concurrent.futures", "import concurrent.futures"
    pairs = [(imports.milliseconds(standard), imports.milliseconds(ours)) for _ in range(6 * options.rounds)]
    over = statistics.median(mine - theirs for theirs, mine in pairs)
    print(f"{over:.1f} ms over {standard!r}, {IMPORT_MS:g} ms asked: {'met' if over <= IMPORT_MS else 'MISSED'}")


def main() -> None:
    options = bench.options_of(__doc__)
    options.no_rivals = False
    for title, kind, measures, refuse in (
        ("threads", "ThreadPoolExecutor", THREADS, threads.refuse_what_is_no_thread),
        ("processes", "ProcessPoolExecutor", PROCESSES, processes.refuse_what_is_no_process),
    ):
        run = Run(f"compat, {title}", engines(kind, title), measures, refuse)
        run.go(options)
        tell_shares(run)
    sides = [("standard", asyncio.to_thread), ("compat", compat.to_thread), ("unirun", unirun.to_thread)]
    bridges = [Engine(name, lambda _, to_thread=to_thread: bridge.Bridge(to_thread)) for name, to_thread in sides]  # type: ignore[misc]
    Run("compat, asyncio", bridges, BRIDGE, bridge.refuse_what_is_no_thread).go(options)
    tell_import(options)


if __name__ == "__main__":
    main()
