"""Counts tasks from outside: for executors that do not count themselves, and for scopes that share one.

The native engines count for themselves what their pool does. Thread: any.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from threading import Lock, RLock
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

BOUNDS = tuple(2**exponent / 1e6 for exponent in range(31))  # Seconds, as the engines have them: 1 us to 1,000 s.


class Durations:
    """Seconds, counted in buckets that double. Its owner locks."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = self._longest = 0.0
        self._numbers = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        seconds = max(seconds, 0.0)  # What two threads saw at once may be counted in the other order.
        self._count += 1
        self._sum += seconds
        self._longest = max(self._longest, seconds)
        self._numbers[bisect_left(BOUNDS, seconds)] += 1

    def as_dict(self) -> dict[str, Any]:
        buckets = [
            [bound, number] for bound, number in zip((*BOUNDS, float("inf")), self._numbers, strict=True) if number
        ]
        return {"count": self._count, "sum": self._sum, "max": self._longest, "buckets": buckets}


class Tally:
    """What became of the futures it was given: counts, and how long their tasks waited and ran.

    A pool tells nobody when it begins with a task. Its times are reckoned: tasks begin in their order, each as soon
    as one of ``workers`` is free.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = RLock()  # A finalizer, or a handler of a signal, may submit in the middle of it.
        self._submitted = 0
        self._ended = {"completed": 0, "failed": 0, "cancelled": 0}
        self._queued: dict[Future[Any], float] = {}  # When each was submitted, the first first.
        self._running: dict[Future[Any], float] = {}  # When each began.
        self._waited = Durations()
        self._ran = Durations()
        self._bell = -1

    def take(self, future: Future[Any], submitted: float) -> None:
        """Count ``future``, which was submitted at that time of `time.monotonic`."""
        with self._lock:
            self._submitted += 1
            self._queued[future] = submitted
            self._begin(submitted)
            self._ring()
        future.add_done_callback(self._count)

    def _begin(self, now: float) -> None:
        while self._queued and len(self._running) < self._workers:
            first = next(iter(self._queued))
            self._running[first] = now
            self._waited.add(now - self._queued.pop(first))

    def _count(self, future: Future[Any]) -> None:
        now = monotonic()
        end = "cancelled" if future.cancelled() else "completed" if future.exception() is None else "failed"
        with self._lock:
            self._ended[end] += 1
            if (began := self._running.pop(future, None)) is not None:
                self._ran.add(now - began)
            else:  # It was cancelled, or its pool broke.
                del self._queued[future]
            self._begin(now)
            self._ring()

    def _ring(self) -> None:
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)
            self._bell = -1

    def _watch(self, bell: int) -> None:
        """Write to the eventfd ``bell`` once, when the statistics change from now on; -1: to none."""
        with self._lock:
            self._bell = bell

    def _statistics(self) -> dict[str, Any]:
        """The same as the ``_statistics()`` of a native pool: see docs/pools.md."""
        with self._lock:
            return {
                "submitted": self._submitted,
                **self._ended,
                "queued": len(self._queued),
                "running": len(self._running),
                "workers": self._workers,
                "wait_seconds": self._waited.as_dict(),
                "run_seconds": self._ran.as_dict(),
            }


def workers_of(executor: Executor) -> int:
    return int(getattr(executor, "_max_workers", 1))


# ---- What goes through one executor ----


class Listener(NamedTuple):
    """Who counts what goes through an executor: all of it, or what is submitted where ``counts_here()``."""

    tally: Tally
    counts_here: Callable[[], bool] | None


class CountingSubmit:
    """Stands in the place of one executor's ``submit`` while somebody counts what goes through it."""

    def __init__(self, submit: Callable[..., Future[Any]], listeners: tuple[Listener, ...]) -> None:
        self.submit = submit
        self.listeners = listeners  # Replaced, never changed: read without a lock.

    def __call__(self, *args: Any, **kwargs: Any) -> Future[Any]:
        now = monotonic()
        future = self.submit(*args, **kwargs)
        for tally, counts_here in self.listeners:
            if counts_here is None or counts_here():
                tally.take(future, now)
        return future


WAYS_IN = ("submit", "schedule")  # Attributes of an executor that make futures, where it has them.
_changing = Lock()


def count(executor: Executor, counts_here: Callable[[], bool] | None = None) -> Tally:
    """Count what goes through ``executor``, or what of that is submitted where ``counts_here()``."""
    listener = Listener(Tally(workers_of(executor)), counts_here)
    with _changing:
        for name in WAYS_IN:
            way = getattr(executor, name, None)
            if isinstance(way, CountingSubmit):
                way.listeners += (listener,)
            elif way is not None:
                executor.__dict__[name] = CountingSubmit(way, (listener,))
    return listener.tally


def stop_counting(executor: Executor, tally: Tally) -> None:
    """Let ``executor`` alone. What ``tally`` was given is still counted when it ends."""
    attributes = executor.__dict__
    with _changing:
        for name in WAYS_IN:
            if isinstance(way := attributes.get(name), CountingSubmit):
                way.listeners = tuple(each for each in way.listeners if each.tally is not tally)
                if not way.listeners:
                    del attributes[name]
