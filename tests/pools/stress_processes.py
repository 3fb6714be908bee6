"""A storm over the native process pool, for sanitizers: threads share a pool whose workers crash and are ended.

usage: stress_processes.py [--rounds N] [--method spawn]     exits 1 if a call is lost or ends otherwise than it should
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import pickle
import random
import sys
import threading
import time
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures import Future as StandardFuture
from typing import Any

from unirun.errors import TaskTimeout, WorkerCrashed
from unirun.executors.processes import ProcessPoolExecutor

PATIENCE = 120.0
CRASHES = 100_000  # More than a storm has.


class Block:
    """Memory that is pickled beside the rest."""

    def __init__(self, memory: Any) -> None:
        self.memory = memory

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (pickle.PickleBuffer(self.memory),)


def same(value: Any) -> Any:
    return value


def fail() -> None:
    raise LookupError("on purpose")


def storm(seed: int, rounds: int, pool: ProcessPoolExecutor, failures: list[BaseException]) -> None:
    chance = random.Random(seed)
    try:
        for _ in range(rounds):
            chance.choice([calls, blocks, chunks, callbacks, over_a_loop, crash, overdue])(pool, chance)
    except BaseException as error:
        failures.append(error)
        raise


def survives(future: StandardFuture[Any]) -> Any:
    """Its result, or None where it was cancelled or its worker was ended with another call."""
    try:
        return future.result(PATIENCE)
    except (CancelledError, WorkerCrashed):
        return None


def calls(pool: ProcessPoolExecutor, chance: random.Random) -> None:
    futures = [pool.submit(same, number) for number in range(100)]
    failing = pool.submit(fail)
    for future in chance.sample(futures, 10):
        future.cancel()
    if chance.random() < 0.5:
        wait(futures, PATIENCE)
    else:
        assert len(list(as_completed(futures, PATIENCE))) == len(futures)
    assert all(survives(future) in (None, number) for number, future in enumerate(futures))
    assert isinstance(failing.exception(PATIENCE), (LookupError, WorkerCrashed))


def blocks(pool: ProcessPoolExecutor, chance: random.Random) -> None:
    """In the ring, and too large for it."""
    for size in (50_000, 1 << 20, 5 << 20):
        sent = bytearray(chance.randbytes(1000)) * (size // 1000)
        got = survives(pool.submit(same, Block(sent)))
        assert got is None or got.memory == sent


def chunks(pool: ProcessPoolExecutor, chance: random.Random) -> None:
    try:
        assert list(pool.map(same, range(200), chunksize=chance.choice([1, 7]), timeout=PATIENCE)) == list(range(200))
    except WorkerCrashed:
        pass


def callbacks(pool: ProcessPoolExecutor, _: random.Random) -> None:
    called: list[object] = []
    all_called = threading.Event()

    def call(future: object) -> None:
        called.append(future)
        if len(called) == 20:
            all_called.set()

    for number in range(20):
        pool.submit(same, number).add_done_callback(call)
    assert all_called.wait(PATIENCE), len(called)


def over_a_loop(pool: ProcessPoolExecutor, _: random.Random) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        asked = [loop.run_in_executor(pool, same, number) for number in range(20)]
        got = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), PATIENCE)
        assert all(value == number or isinstance(value, WorkerCrashed) for number, value in enumerate(got))

    asyncio.run(main())


def crash(pool: ProcessPoolExecutor, _: random.Random) -> None:
    assert isinstance(pool.submit(os._exit, 3).exception(PATIENCE), WorkerCrashed)


def overdue(pool: ProcessPoolExecutor, _: random.Random) -> None:
    late = pool.schedule(time.sleep, (PATIENCE,), timeout=0.05)
    assert isinstance(late.exception(PATIENCE), (TaskTimeout, WorkerCrashed))


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=20)
    arguments.add_argument("--method", default="forkserver", choices=multiprocessing.get_all_start_methods())
    options = arguments.parse_args()
    failures: list[BaseException] = []
    context = multiprocessing.get_context(options.method)
    with ProcessPoolExecutor(2, context, on_worker_crash="replace", max_restarts=CRASHES) as pool:
        threads = [threading.Thread(target=storm, args=(seed, options.rounds, pool, failures)) for seed in range(3)]
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
