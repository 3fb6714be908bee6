"""Threads whose end Python does not wait for when it ends, but whose beginning it does.

CPython 3.11 reads memory that it has given back where it ends beside a thread that has yet to begin
(crashed in 36 of 120 ends beside 30 threads that began up to 60 ms late).
"""

from __future__ import annotations

import atexit
import os
from _thread import allocate_lock, start_new_thread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _thread import LockType
    from collections.abc import Callable

_beginnings: set[LockType] = set()  # Each held until the thread has begun.


def start(function: Callable[[], object]) -> int:
    """Call ``function`` on a thread of its own; returns its identifier. Thread: any."""
    beginning = allocate_lock()
    beginning.acquire()

    def live() -> None:
        _beginnings.discard(beginning)
        beginning.release()
        function()

    try:
        _beginnings.add(beginning)
        return start_new_thread(live, ())
    except BaseException:  # A signal's too, before the beginning or after it.
        _beginnings.discard(beginning)
        raise


@atexit.register
def _wait() -> None:
    for beginning in _beginnings.copy():
        beginning.acquire()


os.register_at_fork(after_in_child=_beginnings.clear)  # Those of the parent begin there.
