"""A storm over a native pool and its futures, for sanitizers: many threads do everything at once.

usage: stress.py [--rounds N] [--interpreters]     exits 1 if a task is lost or ends otherwise than it should
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import random
import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, as_completed, wait
from concurrent.futures import Future as StandardFuture
from typing import Any

import unirun
from unirun.executors.futures import Future
from unirun.executors.threads import ThreadPoolExecutor

PATIENCE = 60.0


def task(fail: bool) -> int:
    if fail:
        raise LookupError("on purpose")
    return 1


class Storm:
    """One thread of it; ``task(fail)`` raises LookupError or returns 1."""

    def __init__(self, seed: int, make: Callable[[int], Executor], task: Callable[[bool], int]) -> None:
        self.chance = random.Random(seed)
        self.make = make
        self.task = task

    def one(self, pool: Executor) -> None:
        fail = self.chance.random() < 0.2
        called: list[StandardFuture[int]] = []
        future = pool.submit(self.task, fail)
        future.add_done_callback(called.append)
        match self.chance.randrange(5):
            case 0:
                future.cancel()
            case 1:
                wait([future], PATIENCE)
            case 2:
                assert list(as_completed([future], PATIENCE)) == [future]
            case 3:
                future.done(), repr(future)
        try:
            assert future.result(PATIENCE) == 1
            assert not fail
        except CancelledError:
            assert future.cancelled()
        except LookupError:
            assert fail
        assert future.done()

    def many(self, pool: Executor) -> None:
        futures = [pool.submit(abs, -number) for number in range(200)]
        for future in futures[::3]:
            future.cancel()
        for number, future in enumerate(futures):
            assert future.cancelled() or future.result(PATIENCE) == number
        assert sum(pool.map(abs, range(100))) == 4950
        for result in pool.map(abs, range(100)):
            if result == 50:
                break

    def by_hand(self) -> None:
        """One future, completed by one thread, cancelled by another, waited for by a third."""
        future: Future[int] = Future()

        def complete() -> None:
            if future.set_running_or_notify_cancel():
                future.set_result(1)

        threads = [threading.Thread(target=complete), threading.Thread(target=future.cancel)]
        for thread in threads:
            thread.start()
        try:
            assert future.result(PATIENCE) == 1
        except CancelledError:
            pass
        for thread in threads:
            thread.join()

    def over_a_loop(self) -> None:
        async def main() -> None:
            assert await asyncio.gather(*(unirun.to_thread(abs, -n) for n in range(100))) == list(range(100))
            asked = asyncio.ensure_future(unirun.to_thread(abs, 1))
            await asyncio.sleep(0)
            asked.cancel()

        asyncio.run(main())

    def ended_midway(self) -> None:
        pool = self.make(2)
        futures = [pool.submit(self.task, False) for _ in range(50)]
        pool.shutdown(wait=False, cancel_futures=self.chance.random() < 0.5)
        assert all(future.cancelled() or future.result(PATIENCE) == 1 for future in futures)

    def round(self, pool: Executor) -> None:
        for _ in range(20):
            self.one(pool)
        self.many(pool)
        self.by_hand()
        if isinstance(pool, ThreadPoolExecutor):
            self.over_a_loop()
        self.ended_midway()


def blow(storm: Storm, rounds: int, pool: Executor, failures: list[Any]) -> None:
    try:
        for _ in range(rounds):
            storm.round(pool)
    except BaseException as error:
        failures.append(error)
        raise


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--interpreters", action="store_true")
    options = arguments.parse_args()
    kind = ("interpreters", "InterpreterPoolExecutor") if options.interpreters else ("threads", "ThreadPoolExecutor")
    make = getattr(importlib.import_module(f"unirun.executors.{kind[0]}"), kind[1])
    failures: list[Any] = []
    with make(3) as pool:
        # A function of a module: one of __main__ would go by the standard library's machinery.
        call = importlib.import_module("stress").task
        storms = [Storm(seed, make, call) for seed in range(4)]
        threads = [threading.Thread(target=blow, args=(storm, options.rounds, pool, failures)) for storm in storms]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    statistics = pool._statistics()
    ended = statistics["completed"] + statistics["failed"] + statistics["cancelled"]
    assert ended == statistics["submitted"], statistics
    assert statistics["queued"] == statistics["running"] == statistics["workers"] == 0, statistics
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
