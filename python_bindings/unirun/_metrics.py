"""Counters and gauges of a service, gathered here and told to the host a few times a second.

Adding costs a lock and a dictionary: nothing is sent, and nobody is woken. A thread that sleeps
while nothing changes sends what has changed, at most every `INTERVAL`.
"""

from __future__ import annotations

from _thread import RLock, allocate_lock, start_new_thread
from time import sleep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    class MetricSink(Protocol):
        """Where counters and gauges go: to a host in another process, or in this one."""

        def count(self, name: str, by: float, /) -> None: ...
        def gauge(self, name: str, value: float, /) -> None: ...


INTERVAL = 0.1  # Seconds from a first change to its sending.
MAX_NAME_BYTES = 128  # As in host/metrics/metrics.h.


class Counter:
    """Something that only grows: jobs done, bytes read. It goes on over restarts of the service."""

    __slots__ = ("_count", "name")

    def __init__(self, name: str, sink: MetricSink) -> None:
        self.name = _checked(name)
        self._count = sink.count

    def add(self, by: float = 1) -> None:
        """Add ``by``. Cheap enough for a tight loop. Thread: any. Raises `ValueError` below 0."""
        if not by >= 0:  # NaN too.
            raise ValueError(f"counter {self.name!r}: {by!r} is no number from 0 on; what also falls is a gauge")
        self._count(self.name, by)

    def __repr__(self) -> str:
        return f"Counter({self.name!r})"


class Gauge:
    """Something that rises and falls: the depth of a queue. It ends with the run that set it."""

    __slots__ = ("_gauge", "name")

    def __init__(self, name: str, sink: MetricSink) -> None:
        self.name = _checked(name)
        self._gauge = sink.gauge

    def set(self, value: float) -> None:
        """Say what it is now; the last word counts. Thread: any. Raises `ValueError` for NaN."""
        if value != value:
            raise ValueError(f"gauge {self.name!r}: {value!r} is no number")
        self._gauge(self.name, value)

    def __repr__(self) -> str:
        return f"Gauge({self.name!r})"


class Gathered:
    """A `MetricSink` that sends frames: what was added since the last one, and the latest values."""

    def __init__(self, send: Callable[[dict[str, Any]], object]) -> None:
        self._begin(send)

    def _begin(self, send: Callable[[dict[str, Any]], object]) -> None:
        self._send = send
        self._lock = RLock()  # Reentrant: a signal handler may count while something is counted.
        self._counters: dict[str, float] = {}
        self._gauges: dict[str, float] = {}
        self._is_told = False  # The sender knows that something has changed.
        self._changed = allocate_lock()  # Locked: nothing has changed; the sender waits for it.
        self._changed.acquire()
        self._has_sender = False

    def count(self, name: str, by: float, /) -> None:
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + by
            if not self._is_told:
                self._tell()

    def gauge(self, name: str, value: float, /) -> None:
        with self._lock:
            self._gauges[name] = value
            if not self._is_told:
                self._tell()

    def flush(self) -> None:
        """Send what has changed, now. Thread: any."""
        with self._lock:
            counters, self._counters = self._counters, {}
            gauges, self._gauges = self._gauges, {}
        if counters or gauges:
            self._send({"type": "metrics", "counters": counters, "gauges": gauges})

    def abandon(self) -> None:
        """Forget everything, for good: in a forked child, whose counts are not this service's."""
        self._begin(_to_nobody)

    def _tell(self) -> None:
        self._is_told = True
        if not self._has_sender:
            self._has_sender = True
            start_new_thread(self._keep_sending, ())
        self._changed.release()

    def _keep_sending(self) -> None:
        while True:
            self._changed.acquire()
            sleep(INTERVAL)
            with self._lock:
                self._is_told = False
            self.flush()


def _to_nobody(_frame: dict[str, Any]) -> None:
    pass


def _checked(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"the name of a metric is a text of 1 to {MAX_NAME_BYTES} bytes, not {name!r}")
    return name
