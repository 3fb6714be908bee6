"""Small pieces of work to try executors with: one that computes, one that waits, one that does both."""

from __future__ import annotations

import asyncio
import time


def count_primes(limit: int) -> int:
    """How many primes are below ``limit``: computes, holding the GIL. 10,000 takes some 10 ms."""
    if limit <= 2:
        return 0
    is_prime = bytearray([1]) * limit
    is_prime[0:2] = b"\0\0"
    for number in range(2, int(limit**0.5) + 1):
        if is_prime[number]:
            for multiple in range(number * number, limit, number):
                is_prime[multiple] = 0
    return sum(is_prime)


def simulate_blocking_io(duration: float) -> float:
    """Wait ``duration`` seconds with the GIL released, as a read would. Returns ``duration``."""
    time.sleep(duration)
    return duration


async def simulate_async_io(duration: float) -> float:
    """Wait ``duration`` seconds in the event loop. Returns ``duration``."""
    await asyncio.sleep(duration)
    return duration


def mixed_workload(limit: int, duration: float) -> int:
    """Wait, then compute: a request that fetches its data first. Returns `count_primes` of ``limit``."""
    simulate_blocking_io(duration)
    return count_primes(limit)
