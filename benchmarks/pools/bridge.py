#!/usr/bin/env python3
"""`unirun.to_thread` beside `asyncio.to_thread`, on the default loop, in turns.

usage: bridge.py [--cpus 0] [--rounds 5] [--json PATH]
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pool_bench as bench
from pool_bench import Engine, Measure, Run, Sample

import unirun

GATHERED = 5_000


class Bridge:
    """A loop and a way from it to a thread, which stand in for a pool."""

    def __init__(self, to_thread: Callable[..., Awaitable[Any]]) -> None:
        self.to_thread = to_thread
        self.runner = asyncio.Runner()

    def shutdown(self) -> None:
        self.runner.close()


def engines() -> list[Engine]:
    return [
        Engine("standard", lambda _: Bridge(asyncio.to_thread)),
        Engine("unirun", lambda _: Bridge(unirun.to_thread)),
    ]


def refuse_what_is_no_thread(engine: Engine, bridge: Bridge) -> None:
    async def ask() -> Any:
        return await bridge.to_thread(bench.where)

    process, thread, _ = bridge.runner.run(ask())
    if process != os.getpid() or thread == threading.get_ident():
        bench.refuse(engine, "a task ran in the loop's own thread")


def round_trip(_: Engine, bridge: Bridge) -> Sample:
    async def measure() -> Sample:
        clock, to_thread, taken = time.perf_counter, bridge.to_thread, []
        for number in range(2_050):
            began = clock()
            await to_thread(bench.same, 1)
            if number >= 50:
                taken.append(clock() - began)
        taken.sort()
        return Sample(taken[len(taken) // 2], taken[len(taken) * 99 // 100])

    return bridge.runner.run(measure())


def gather(_: Engine, bridge: Bridge) -> Sample:
    async def measure() -> Sample:
        to_thread = bridge.to_thread
        await asyncio.gather(*(to_thread(bench.same, number) for number in range(100)))
        began = time.perf_counter()
        results = await asyncio.gather(*(to_thread(bench.same, number) for number in range(GATHERED)))
        taken = time.perf_counter() - began
        assert results == list(range(GATHERED))
        return Sample(GATHERED / taken)

    return bridge.runner.run(measure())


MEASURES = [
    Measure("to_thread, round trip", "us", round_trip, one_cpu=2),
    Measure("gather of 5,000", "/s", gather, one_cpu=14),
]


def main() -> None:
    Run("bridge", engines(), MEASURES, refuse_what_is_no_thread).go(bench.options_of(__doc__))


if __name__ == "__main__":
    main()
