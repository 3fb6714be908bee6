"""The handlers of server.cpp: functions of a query, which answer with text."""

from __future__ import annotations

import asyncio
import sys


def version(query: str) -> str:
    return f"Python {sys.version.split()[0]}, asked {query!r}\n"


def primes(query: str) -> str:
    """Compute for a while, in Python alone."""
    below = int(query or 20_000)
    found = [2, *(n for n in range(3, below, 2) if all(n % d for d in range(3, int(n**0.5) + 1, 2)))]
    return f"{len(found)} primes below {below}\n"


async def later(query: str) -> str:
    await asyncio.sleep(float(query or 0.1))
    return "later\n"
