"""`Metrics`: what became of the tasks of a scope, and how long they waited and ran."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor, Future


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds, counted in buckets that double: exact in number and sum, within a factor of two in between."""

    count: int = 0
    sum: float = 0.0
    max: float = 0.0
    """The longest. Of the executor, where the scope shares it."""

    buckets: tuple[tuple[float, int], ...] = ()
    """Upper bound and number of each bucket, the shortest first."""

    @property
    def mean(self) -> float:
        """0 where nothing was counted."""
        return self.sum / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """What this share of all did not exceed, to its bucket: ``quantile(0.99)``. 0 where nothing was counted."""
        if not 0 <= share <= 1:
            raise ValueError(f"quantile: {share!r} is not within 0 and 1")
        total = sum(number for _, number in self.buckets)
        counted = 0
        for bound, number in self.buckets:
            counted += number
            if number and counted >= share * total:
                return min(bound, self.max)
        return 0.0

    def since(self, before: Times) -> Times:
        earlier = dict(before.buckets)
        buckets = tuple((bound, number - earlier.get(bound, 0)) for bound, number in self.buckets)
        return Times(self.count - before.count, self.sum - before.sum, self.max, buckets)


@dataclass(frozen=True, slots=True)
class Metrics:
    """A moment of a scope. Every submitted task is in one of the next five counts."""

    submitted: int
    completed: int
    """Ended with a result."""
    failed: int
    """Ended with an exception."""
    cancelled: int
    queued: int
    running: int
    workers: int
    wait_seconds: Times = Times()
    """From ``submit`` to the start. Empty for the plain classes of the standard library, which do not tell."""
    run_seconds: Times = Times()
    """From the start to the end. Empty likewise."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)

    def plot(self, path: str) -> None:
        """Draw the wait and run times into ``path``: an SVG, or a PNG where matplotlib is installed.

        Raises `ValueError` for another suffix, `ImportError` without matplotlib, `OSError` if it cannot be written.
        """
        from unirun.plots import Histogram, draw

        draw(
            path,
            f"{self.submitted} tasks: {self.completed} completed, {self.failed} failed, {self.cancelled} cancelled",
            [
                Histogram("waited", self.wait_seconds.buckets),
                Histogram("ran", self.run_seconds.buckets),
            ],
        )

    def since(self, before: Metrics) -> Metrics:
        """What was added after ``before``; what is queued, running and working is as it is now."""
        return Metrics(
            self.submitted - before.submitted,
            self.completed - before.completed,
            self.failed - before.failed,
            self.cancelled - before.cancelled,
            self.queued,
            self.running,
            self.workers,
            self.wait_seconds.since(before.wait_seconds),
            self.run_seconds.since(before.run_seconds),
        )

    @classmethod
    def of(cls, statistics: Mapping[str, Any]) -> Metrics:
        """From what an executor's ``_statistics()`` says."""
        counts = {name: statistics[name] for name in COUNTS}
        wait, ran = (_times(statistics.get(name)) for name in ("wait_seconds", "run_seconds"))
        return cls(**counts, wait_seconds=wait, run_seconds=ran)


COUNTS = ("submitted", "completed", "failed", "cancelled", "queued", "running", "workers")


def _times(said: Mapping[str, Any] | None) -> Times:
    if said is None:
        return Times()
    buckets = tuple((float(bound), int(number)) for bound, number in said["buckets"])
    return Times(said["count"], said["sum"], said["max"], buckets)


# ---- The plain classes of the standard library count nothing ----


class FutureCounts:
    """What became of the futures that it was shown."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._lock = Lock()
        self._submitted = 0
        self._ended = {"completed": 0, "failed": 0, "cancelled": 0}
        self._bell = -1

    def add(self, future: Future[Any]) -> None:
        """One more that was submitted."""
        with self._lock:
            self._submitted += 1
            self._ring()
        future.add_done_callback(self._count)

    def _count(self, future: Future[Any]) -> None:
        end = "cancelled" if future.cancelled() else "completed" if future.exception() is None else "failed"
        with self._lock:
            self._ended[end] += 1
            self._ring()

    def _ring(self) -> None:
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)
            self._bell = -1

    def watch(self, bell: int) -> None:
        """Write to the eventfd ``bell`` once, when the statistics change from now on; -1: to none."""
        with self._lock:
            self._bell = bell

    def statistics(self) -> dict[str, Any]:
        with self._lock:
            pending = self._submitted - sum(self._ended.values())
            running = min(pending, self._workers)
            counts = {"queued": pending - running, "running": running, "workers": self._workers}
            return {"submitted": self._submitted, **self._ended, **counts}


class CountedSubmit(FutureCounts):
    """Stands before the ``submit`` of one executor and counts what goes through."""

    def __init__(self, executor: Executor) -> None:
        super().__init__(int(getattr(executor, "_max_workers", 1)))
        self._submit = executor.submit

    def __call__(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = self._submit(fn, *args, **kwargs)
        self.add(future)
        return future


def count(executor: Executor) -> None:
    """See to it that ``executor`` counts, until `stop_counting`."""
    if source_of(executor) is None:
        executor.__dict__["submit"] = CountedSubmit(executor)


def stop_counting(executor: Executor) -> None:
    if isinstance(executor.__dict__.get("submit"), CountedSubmit):
        del executor.__dict__["submit"]


def source_of(executor: Executor) -> Callable[[], Mapping[str, Any]] | None:
    """What tells the statistics of ``executor``, or None if nothing does."""
    native: Callable[[], Mapping[str, Any]] | None = getattr(executor, "_statistics", None)
    if native is not None:
        return native
    counted = getattr(executor, "__dict__", {}).get("submit")
    return counted.statistics if isinstance(counted, CountedSubmit) else None
