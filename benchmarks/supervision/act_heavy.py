"""act.c for a Python worker with heavy imports: says when its service began, then waits to be killed.

``ACT_RESIDENT_MB``: so much memory is resident afterwards, for the kernel to tear down.
"""

from __future__ import annotations

import asyncio  # noqa: F401
import http.client
import json  # noqa: F401
import os
import signal
import ssl  # noqa: F401
import sys
import time
from typing import Any

assert http.client
ballast: list[bytearray] = []


def act(index: str) -> None:
    """Say that worker ``index`` has begun; grow; wait."""
    now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    fifo = os.open(os.environ["ACT_FIFO"], os.O_WRONLY | os.O_CLOEXEC)
    os.write(fifo, f"{index} {os.getpid()} {now}\n".encode())
    os.close(fifo)
    if megabytes := int(os.environ.get("ACT_RESIDENT_MB", "0")):
        ballast.append(bytearray(b"x") * (megabytes << 20))
    while True:
        signal.pause()


def service(context: Any) -> None:
    """As a service of unirun."""
    act(context.id)


if __name__ == "__main__":
    act(sys.argv[1])
