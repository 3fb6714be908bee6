"""Runs very many tasks of every kind of end through a native pool and tells what is left of them.

usage: pool_leaks.py FLAVOR COUNT

Prints one JSON object: how much more there is, after the tasks and after the pool, than after a first pool.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import threading
import weakref
from concurrent.futures import CancelledError, Future, as_completed, wait
from typing import Any

from pool_engines import executor_class
from pool_faults import children, eventually
from pool_tasks import raise_named, same

WARM_UP = 20_000
BATCH = 1_000
SAMPLED = 50  # Every so many a future is watched to its end.


def resident_bytes() -> int:
    """Of this process and its workers."""
    pages = 0
    for pid in (os.getpid(), *children()):
        with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
            pages += int(statm.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def tally() -> dict[str, set[int]]:
    """What a process may have too much of, memory aside. The kernel counts a thread for a while after its end."""
    gc.collect()
    return {
        "threads": set(map(int, os.listdir("/proc/self/task"))),
        "descriptors": set(map(int, os.listdir("/proc/self/fd"))),
        "processes": set(children()),
    }


def do_batch(pool: Any, watched: list[weakref.ref[Future[Any]]]) -> None:
    """As many tasks, each awaited in one of the ways that there are."""
    futures: list[Future[Any]] = []
    for number in range(BATCH):
        if number % 10 == 3:
            futures.append(pool.submit(raise_named, "ValueError", "no"))
        else:
            futures.append(pool.submit(same, number))
        if number % 10 == 5:
            futures[-1].add_done_callback(lambda _: None)
        if number % 10 == 7:
            futures[-1].cancel()
    watched.extend(weakref.ref(future) for future in futures[::SAMPLED])
    wait(futures[: BATCH // 4])
    for future in as_completed(futures[BATCH // 4 : BATCH // 2]):
        future.cancelled()
    for number, future in enumerate(futures):
        try:
            assert future.result(60) == number
        except (ValueError, CancelledError):
            assert number % 10 in (3, 7)


def run(flavor: str, count: int) -> dict[str, int]:
    watched: list[weakref.ref[Future[Any]]] = []
    with executor_class("native", flavor)(2) as pool:  # type: ignore[call-arg]
        for _ in range(WARM_UP // BATCH):
            do_batch(pool, watched)
    eventually(lambda: threading.active_count() == 1)
    before = tally()
    with executor_class("native", flavor)(2) as pool:  # type: ignore[call-arg]
        for _ in range(WARM_UP // BATCH):
            do_batch(pool, watched)
        watched.clear()
        gc.collect()
        memory = resident_bytes()
        for _ in range(count // BATCH):
            do_batch(pool, watched)
        gc.collect()
        left = {"bytes": resident_bytes() - memory, "futures": sum(ref() is not None for ref in watched)}
        # Each watched future has a weak reference of its own, which stays.
        left["bytes"] -= sys.getsizeof(watched) + sum(map(sys.getsizeof, watched))

    def more() -> dict[str, int]:
        return {what: len(now - before[what]) for what, now in tally().items()}

    eventually(lambda: not any(more().values()))
    return left | more()


def main() -> None:
    print(json.dumps(run(sys.argv[1], int(sys.argv[2]))))


if __name__ == "__main__":
    main()
