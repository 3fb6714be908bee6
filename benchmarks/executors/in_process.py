#!/usr/bin/env python3
"""Python services inside the host: from a crash to the next life, and what an idle one costs.

usage: in_process.py [--crashes 5000] [--idle 20000] [--only crash|idle]

``crash``: nanoseconds from the statement that raises to the first of the next life, p50 and p99, for a thread and for a
task on the loop, beside a floor of the same run: a Python thread that is started, and a task that is made, for each.
``idle``: resident bytes for each of so many services that wait.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import unirun
from unirun import Child, Supervisor

now = time.monotonic_ns


class Crashes:
    """A service that crashes until there are figures enough."""

    def __init__(self, count: int) -> None:
        self.delays: list[int] = []
        self.raised_at = 0
        self.count = count
        self.done = threading.Event()

    def began(self) -> None:
        if self.raised_at:
            self.delays.append(now() - self.raised_at)
        if len(self.delays) >= self.count:
            self.done.set()

    def thread(self, context: unirun.ServiceContext) -> None:
        self.began()
        if self.done.is_set():
            context.cancellation.wait()
            return
        self.raised_at = now()
        raise LookupError

    async def task(self, _context: unirun.ServiceContext) -> None:
        self.began()
        if self.done.is_set():
            await asyncio.Event().wait()
        self.raised_at = now()
        raise LookupError


def host_of(*children: Child, directory: str) -> unirun.Host:
    tree = Supervisor("tree", children=children, max_restarts=1_000_000_000, period=1.0)
    return unirun.Host([tree], state_dir=directory, runtime_dir=directory, control=False, journal=False)


def crash(executor: str, count: int, directory: str) -> list[int]:
    crashes = Crashes(count)
    target: Any = crashes.thread if executor == "thread" else crashes.task
    with host_of(Child("one", target=target, executor=executor), directory=directory):  # type: ignore[arg-type]
        crashes.done.wait()
    return crashes.delays


def thread_floor(count: int) -> list[int]:
    delays: list[int] = []

    def begin(at: int) -> None:
        delays.append(now() - at)

    for _ in range(count):
        thread = threading.Thread(target=begin, args=(now(),))
        thread.start()
        thread.join()
    return delays


def task_floor(count: int) -> list[int]:
    delays: list[int] = []

    async def begin(at: int) -> None:
        delays.append(now() - at)

    async def main() -> None:
        for _ in range(count):
            await asyncio.get_running_loop().create_task(begin(now()))

    asyncio.run(main())
    return delays


def show(name: str, delays: list[int], floor: list[int]) -> None:
    p50, p99 = (statistics.quantiles(delays, n=100)[at] / 1e3 for at in (49, 98))
    at_least = statistics.median(floor) / 1e3
    print(f"{name:28} p50 {p50:8.1f} us  p99 {p99:8.1f} us  floor {at_least:6.1f} us  ratio {p50 / at_least:5.2f}")


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


async def waits(context: unirun.ServiceContext) -> None:
    context.ready()
    await asyncio.get_running_loop().create_future()  # The least that anything can wait for.


def waits_on_a_thread(context: unirun.ServiceContext) -> None:
    context.ready()
    context.cancellation.wait()


def idle(executor: str, count: int, directory: str) -> None:
    target = waits if executor == "async" else waits_on_a_thread

    def host(services: int) -> unirun.Host:
        child = Child("w", target=target, executor=executor, instances=services, readiness={"kind": "notify"})  # type: ignore[arg-type]
        return host_of(child, directory=directory)

    with host(10):
        pass  # Imports, pools and arenas are there.
    before = resident()
    with host(count):
        each = (resident() - before) / count
        what = "its touched stack included" if executor == "thread" else "all told"
        print(f"{count} idle {executor} services: {each / 1024:.2f} KiB each, {what}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--crashes", type=int, default=5000)
    parser.add_argument("--idle", type=int, default=20000)
    parser.add_argument("--only", choices=["crash", "idle"])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if options.only != "idle":
            floors: dict[str, Callable[[int], list[int]]] = {"thread": thread_floor, "async": task_floor}
            for executor, floor in floors.items():
                show(
                    f"{executor}: crash to running",
                    crash(executor, options.crashes, directory),
                    floor(options.crashes),
                )
        if options.only != "crash":
            idle("async", options.idle, directory)
            idle("thread", min(options.idle, 1000), directory)


if __name__ == "__main__":
    main()
