"""The same as act.c for a Python worker that starts cold: says when its main began, with what a worker imports."""

import asyncio  # noqa: F401
import json  # noqa: F401
import os
import signal
import sys
import time

now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
fifo = os.open(os.environ["ACT_FIFO"], os.O_WRONLY | os.O_CLOEXEC)
# A run file's interpreter line gets the id first; called with it twice, it is the same.
os.write(fifo, f"{sys.argv[1]} {os.getpid()} {now}\n".encode())
os.close(fifo)
if "ACT_NOTIFY_FD" in os.environ:
    os.write(int(os.environ["ACT_NOTIFY_FD"]), b"\n")
while True:
    signal.pause()
