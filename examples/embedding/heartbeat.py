#!/usr/bin/env python3
"""A Python program with unirun inside: its main thread computes, and C++ has a function called, on time.

The C++ is an extension module, ticker.cpp, which calls the function on a thread of unirun's.

usage: PYTHONPATH=FOLDER_OF_TICKER heartbeat.py [SECONDS]
"""

from __future__ import annotations

import sys
import threading
import time

import ticker

beats: list[int] = []


def beat() -> None:
    beats.append(threading.get_native_id())


def primes_for(seconds: float) -> int:
    found, number, end = 0, 1, time.monotonic() + seconds
    while time.monotonic() < end:
        number += 1
        found += all(number % divisor for divisor in range(2, int(number**0.5) + 1))
    return found


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    ticker.start(beat, 0.002)
    found = primes_for(seconds)
    report = ticker.stop()
    print(
        f"{found} primes; {report['calls']} of {report['ticks']} ticks came through, {report['failed']} failed;"
        f" half of them within {report['late'] * 1e6:.0f} us"
    )
    here = threading.get_native_id()
    if report["failed"] or not beats or len(beats) != report["ticks"] or here in beats:
        raise SystemExit("a beat was lost, or came on the main thread")


if __name__ == "__main__":
    main()
