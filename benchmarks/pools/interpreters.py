#!/usr/bin/env python3
"""The native pool of interpreters beside the standard one of 3.14, in turns.

usage: interpreters.py [--cpus 0] [--rounds 5] [--json PATH]
"""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any

import pool_bench as bench
from pool_bench import Engine, Measure, Run


def refuse_what_is_no_interpreter(engine: Engine, pool: Any) -> None:
    process, _, interpreter = pool.submit(bench.where).result()
    if process != os.getpid():
        bench.refuse(engine, "a task ran in another process")
    if interpreter == bench.interpreter():
        bench.refuse(engine, "a task ran in the caller's interpreter")


MEASURES = [
    Measure("round trip", "us", bench.round_trip(2_000), one_cpu=3, free=3),
    Measure("submit 10,000, result() each", "/s", bench.batch(10_000), one_cpu=15, free=15),
    Measure("submit, caller's cost", "us", bench.submit_cost(5_000)),
    Measure("map of 10,000", "/s", bench.mapped(10_000)),
    Measure("start to first result", "ms", bench.start(10), one_cpu=2, free=2, alone=True),
]


def main() -> None:
    options = bench.options_of(__doc__)
    standard = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
    if standard is None:
        print("interpreters: not measured, the standard library has a pool of them from Python 3.14 on")
        return
    engines = [
        Engine("standard", standard),
        Engine("unirun", bench.native("interpreters", "InterpreterPoolExecutor")),
    ]
    Run("interpreters", engines, MEASURES, refuse_what_is_no_interpreter).go(options)


if __name__ == "__main__":
    main()
