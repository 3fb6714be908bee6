"""The bare floor of a standby: forked Python workers that wait on a futex.

They hold a robust mutex whose release tells of their death. No host, no set-up, no supervision; a new standby is forked
a moment after one has gone.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import mmap
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import act_heavy

libc = ctypes.CDLL(None, use_errno=True)
FUTEX, FUTEX_WAITV = 202 if os.uname().machine == "x86_64" else 98, 449
WAIT, WAKE, WAITERS, DIED, TID = 0, 1, 0x80000000, 0x40000000, 0x3FFFFFFF
COUNT = int(sys.argv[1])
PLACES = 4096
# A place: the mutex (40 bytes), and at 48 the word that lets a standby go: the worker's number and 1.
memory = mmap.mmap(-1, PLACES * 64)
base = ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Waited(ctypes.Structure):
    _fields_ = (
        ("value", ctypes.c_uint64),
        ("address", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("reserved", ctypes.c_uint32),
    )


def word(place: int, offset: int = 0) -> ctypes.c_uint32:
    return ctypes.c_uint32.from_address(base + place * 64 + offset)


def futex(place: int, operation: int, value: int) -> None:
    libc.syscall(FUTEX, ctypes.c_void_p(base + place * 64 + 48), operation, value, None, None, 0)


attributes = ctypes.create_string_buffer(16)
libc.pthread_mutexattr_init(attributes)
libc.pthread_mutexattr_setpshared(attributes, 1)
libc.pthread_mutexattr_setrobust(attributes, 1)
pids: dict[int, int] = {}
free = list(range(PLACES))


def prepare() -> int:
    """Fork a standby; returns its place once it holds its lock."""
    place = free.pop(0)
    libc.pthread_mutex_init(ctypes.c_void_p(base + place * 64), attributes)
    word(place, 48).value = 0
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        libc.pthread_mutex_lock(ctypes.c_void_p(base + place * 64))
        while word(place, 48).value == 0:
            futex(place, WAIT, 0)
        act_heavy.act(str(word(place, 48).value - 1))
    pids[place] = pid
    while word(place).value == 0:
        time.sleep(0.001)
    return place


def go(place: int, index: int) -> None:
    word(place, 48).value = index + 1
    futex(place, WAKE, 1)


def end(*_: object) -> None:
    for pid in pids.values():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


signal.signal(signal.SIGTERM, end)
gc.freeze()
workers: dict[int, int] = {}
for number in range(COUNT):
    place = prepare()
    go(place, number)
    workers[place] = number
standby = prepare()
while True:
    waited = (Waited * len(workers))()
    for entry, place in zip(waited, workers, strict=True):
        word(place).value |= WAITERS
        entry.value, entry.address, entry.flags = word(place).value, base + place * 64, 2
    libc.syscall(FUTEX_WAITV, waited, len(workers), 0, None, 0)
    for place in list(workers):
        if word(place).value & DIED:
            index = workers.pop(place)
            go(standby, index)
            workers[standby] = index
            time.sleep(0.01)
            os.waitpid(pids.pop(place), 0)
            free.append(place)
            standby = prepare()
