#!/usr/bin/env python3
"""The native process pool beside the standard one and rivals, in turns.

usage: processes.py [--cpus 0] [--rounds 5] [--json PATH]
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import Any

import pool_bench as bench
from pool_bench import Engine, Measure, Run

MIB = 1 << 20


def engines() -> list[Engine]:
    ours = [Engine("standard", ProcessPoolExecutor), Engine("unirun", bench.native("processes", "ProcessPoolExecutor"))]
    rivals = bench.available(
        {
            "loky": lambda: bench.named("loky", "ProcessPoolExecutor"),
            "pebble": lambda: bench.pebble("ProcessPool", None),
            "mpire": lambda: bench.mpire("fork"),
        }
    )
    return ours + rivals


def refuse_what_is_no_process(engine: Engine, pool: Any) -> None:
    process, _, _ = pool.submit(bench.where).result()
    if process == os.getpid():
        bench.refuse(engine, "a task ran in the caller's process")


def measures() -> list[Measure]:
    rows = [
        Measure("round trip", "us", bench.round_trip(1_000), one_cpu=7.5, p99_one_cpu=6, free=2.8),
        Measure("submit 10,000, result() each", "/s", bench.batch(10_000), one_cpu=30, free=40),
        Measure("submit, caller's cost", "us", bench.submit_cost(5_000), one_cpu=12),
        Measure("map of 50,000, chunks of 64", "/s", bench.mapped(50_000, 64), one_cpu=3, free=3),
        Measure("1 MiB of bytes there and back", "ms", bench.round_trip(100, bytes(MIB)), one_cpu=3, free=3),
        Measure("start to first result", "ms", bench.start(10), one_cpu=1.6, free=1.6, alone=True),
    ]
    if find_spec("numpy") is not None:
        array = bench.named("numpy", "ones")
        rows += [
            Measure("1 MiB array there and back", "ms", bench.round_trip(100, array(MIB // 8)), one_cpu=3, free=3),
            Measure(
                "100 MiB array there and back", "ms", bench.round_trip(2, array(100 * MIB // 8)), one_cpu=3, free=3
            ),
        ]
    return rows


def main() -> None:
    Run("processes", engines(), measures(), refuse_what_is_no_process).go(bench.options_of(__doc__))


if __name__ == "__main__":
    main()
