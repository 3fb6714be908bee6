"""The rival of the bus across threads: asyncio's call_soon_threadsafe, in its own best manner.

Prints one JSON object a line: {"metric", "value", "unit"}, as event_bus_bench does.

usage: call_soon_threadsafe.py [calls of a burst, default 200000]
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time


def show(metric: str, value: float, unit: str) -> None:
    print(json.dumps({"metric": metric, "value": value, "unit": unit}), flush=True)


async def burst(calls: int) -> float:
    """The rate from the first call on another thread to the last callback on the loop."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    ran = 0

    def callback() -> None:
        nonlocal ran
        ran += 1
        if ran == calls:
            done.set_result(None)

    def call_all() -> None:
        call = loop.call_soon_threadsafe
        for _ in range(calls):
            call(callback)

    begin = time.perf_counter()
    thread = threading.Thread(target=call_all)
    thread.start()
    await done
    rate = calls / (time.perf_counter() - begin)
    thread.join()
    return rate


async def single(rounds: int) -> None:
    """From the call on another thread to the callback on the loop that sleeps, back and forth."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    arrived = threading.Semaphore(0)
    microseconds: list[float] = []

    def callback(called: int) -> None:
        microseconds.append((time.perf_counter_ns() - called) / 1_000)
        arrived.release()

    def call_each() -> None:
        for _ in range(rounds):
            loop.call_soon_threadsafe(callback, time.perf_counter_ns())
            arrived.acquire()
        loop.call_soon_threadsafe(done.set_result, None)

    thread = threading.Thread(target=call_each)
    thread.start()
    await done
    thread.join()
    microseconds.sort()
    show("across_single_p50", microseconds[rounds // 2], "us")
    show("across_single_p99", microseconds[rounds * 99 // 100], "us")


if __name__ == "__main__":
    of_a_burst = int(sys.argv[1]) if len(sys.argv) > 1 else 200_000
    best = max(asyncio.run(burst(of_a_burst)) for _ in range(5))
    show("across_burst", best, "events/s")
    asyncio.run(single(5_000))
