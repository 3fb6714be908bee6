"""Cancellation: how a service learns that it shall stop.

A `CancellationToken` is asked, waited for, or told to call back. It goes one way: once a stop was
requested it stays requested. All of it may be used from any thread and from signal handlers.
Units: every ``timeout`` is in seconds (float).
"""

from __future__ import annotations

from _thread import TIMEOUT_MAX, allocate_lock
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Cancelled(BaseException):
    """Raised where a stop was requested; leaving a service with it is a clean end.

    A `BaseException`, as `asyncio.CancelledError` is: ``except Exception`` shall not swallow it.
    """


class CancellationToken:
    """The read side of "please stop"."""

    __slots__ = ("_callbacks", "_keys", "_latch", "_requested", "_unclaimed")

    def __init__(self) -> None:
        self._requested = False
        # Held until the request, then passed from waiter to waiter: a turnstile.
        self._latch = allocate_lock()
        self._latch.acquire()
        # Whoever pops the only entry has made the first request. list.pop and dict.pop are atomic, so
        # no lock is held that a signal handler could find taken by the very thread it interrupts.
        self._unclaimed = [True]
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._keys = count()

    @property
    def is_cancellation_requested(self) -> bool:
        """Whether a stop was requested."""
        return self._requested

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for the request, up to ``timeout`` seconds (`None`: for ever).

        Returns True once a stop was requested, False when the time ran out.
        """
        if self.is_cancellation_requested:
            return True
        patience = -1.0 if timeout is None else min(max(timeout, 0.0), TIMEOUT_MAX)
        try:
            self._latch.acquire(timeout=patience)
        finally:  # A signal handler may raise just after the latch was taken.
            if self._requested:
                self._open()
        return self._requested

    def raise_if_cancelled(self) -> None:
        """Raise `Cancelled` if a stop was requested."""
        if self._requested:
            raise Cancelled("a stop was requested")

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have ``callback`` called once, at the request; at once if that was before.

        It runs in the thread that learns of the request and shall be short. What it raises is
        printed to stderr and harms nobody. Returns a function that takes it off again.
        """
        key = next(self._keys)
        self._callbacks[key] = callback
        if self._requested:
            self._call(key)

        def remove() -> None:
            self._callbacks.pop(key, None)

        return remove

    def cancel(self) -> bool:
        """Request the stop. True for the first request, False for every later one.

        Whichever it was, the request can be seen once it returns: one that a signal handler makes
        on top of another does what that has not come to.
        """
        self._requested = True
        try:
            self._unclaimed.pop()
            is_first = True
        except IndexError:
            is_first = False
        self._open()
        for key in list(self._callbacks):
            self._call(key)
        return is_first

    def _open(self) -> None:
        try:
            self._latch.release()
        except RuntimeError:  # It is open.
            pass

    def _call(self, key: int) -> None:
        # Popping decides between cancel() and a late add_callback(): one of them calls.
        callback = self._callbacks.pop(key, None)
        if callback is None:
            return
        try:
            callback()
        except Exception:
            from traceback import print_exc

            print_exc()
