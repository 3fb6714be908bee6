#!/usr/bin/env python3
"""The native thread pool beside the standard one and rivals: one process, in turns.

usage: threads.py [--cpus 0] [--rounds 5] [--json PATH]
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pool_bench as bench
from pool_bench import Engine, Measure, Run, Sample

QUEUED = 100_000


def engines() -> list[Engine]:
    ours = [Engine("standard", ThreadPoolExecutor), Engine("unirun", bench.native("threads", "ThreadPoolExecutor"))]
    rivals = bench.available({"pebble": lambda: bench.pebble("ThreadPool"), "mpire": lambda: bench.mpire("threading")})
    return ours + rivals


def refuse_what_is_no_thread(engine: Engine, pool: Any) -> None:
    process, thread, _ = pool.submit(bench.where).result()
    if process != os.getpid():
        bench.refuse(engine, "a task ran in another process")
    if thread == threading.get_ident():
        bench.refuse(engine, "a task ran in the caller's thread")


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def tell_memory(name: str) -> None:
    """The memory of one queued task, in this process, where nothing else was."""
    engine = next(engine for engine in engines() if engine.name == name)
    gate = threading.Event()
    with engine.open(1) as pool:
        pool.submit(gate.wait)
        keep = [pool.submit(bench.same, 1) for _ in range(1000)]
        futures = [None] * QUEUED
        before = resident_bytes()
        for number in range(QUEUED):
            futures[number] = pool.submit(bench.same, 1)
        print((resident_bytes() - before) / QUEUED)
        gate.set()
        assert keep[-1].result() == 1


def memory(engine: Engine, _: Any) -> Sample:
    told = subprocess.run(
        [sys.executable, __file__, "--memory-of", engine.name], check=True, stdout=subprocess.PIPE, text=True
    )
    return Sample(float(told.stdout))


MEASURES = [
    Measure("submit, caller's cost", "us", bench.submit_cost(10_000), one_cpu=35),
    Measure("submit 10,000, result() each", "/s", bench.batch(10_000), one_cpu=28),
    Measure("round trip", "us", bench.round_trip(3_000), one_cpu=3, p99_one_cpu=3, free=1.3),
    Measure("map of 10,000", "/s", bench.mapped(10_000), one_cpu=40),
    Measure("start to first result", "us", bench.start(50), alone=True),
    Measure("memory of a queued task", "B", memory, one_cpu=9, free=9, rivals=False),
]


def main() -> None:
    if "--memory-of" in sys.argv:
        tell_memory(sys.argv[-1])
        return
    Run("threads", engines(), MEASURES, refuse_what_is_no_thread).go(bench.options_of(__doc__))


if __name__ == "__main__":
    main()
