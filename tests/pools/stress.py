"""A storm over the native thread pool and its futures, for sanitizers: many threads do everything at once.

usage: stress.py [--rounds N]     exits 1 if a task is lost, done twice or ends otherwise than it should
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import threading
from collections import Counter
from concurrent.futures import CancelledError, as_completed, wait
from concurrent.futures import Future as StandardFuture
from typing import Any

import unirun
from unirun.executors.futures import Future
from unirun.executors.threads import ThreadPoolExecutor

PATIENCE = 60.0


class Storm:
    """What was asked for and what came of it; both sides count."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.ends: Counter[str] = Counter()
        self.ran: Counter[str] = Counter()

    def task(self, fail: bool) -> int:
        self.ran["run"] += 1  # Under the GIL only nearly exact: not judged.
        if fail:
            raise LookupError("on purpose")
        return 1

    def one(self, pool: ThreadPoolExecutor) -> None:
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

    def many(self, pool: ThreadPoolExecutor) -> None:
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
        pool = ThreadPoolExecutor(2)
        futures = [pool.submit(self.task, False) for _ in range(50)]
        pool.shutdown(wait=False, cancel_futures=self.chance.random() < 0.5)
        assert all(future.cancelled() or future.result(PATIENCE) == 1 for future in futures)

    def round(self, pool: ThreadPoolExecutor) -> None:
        for _ in range(20):
            self.one(pool)
        self.many(pool)
        self.by_hand()
        self.over_a_loop()
        self.ended_midway()


def blow(seed: int, rounds: int, pool: ThreadPoolExecutor, failures: list[Any]) -> None:
    try:
        storm = Storm(seed)
        for _ in range(rounds):
            storm.round(pool)
    except BaseException as error:
        failures.append(error)
        raise


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--rounds", type=int, default=20)
    rounds = arguments.parse_args().rounds
    failures: list[Any] = []
    with ThreadPoolExecutor(3) as pool:
        threads = [threading.Thread(target=blow, args=(seed, rounds, pool, failures)) for seed in range(4)]
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
