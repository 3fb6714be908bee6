"""Counters and gauges of a service, gathered here and told to the host a few times a second.

Adding costs a lock and a dictionary: nothing is sent, and nobody is woken. `pulse`, a thread that
sleeps while nothing changes, has what has changed sent, at most every `INTERVAL`.
"""

from __future__ import annotations

import os
from _thread import RLock, get_ident
from time import sleep

from unirun import _daemons

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


class Pulse:
    """Calls all who have asked for it, `INTERVAL` after the first of them. Thread: any.

    What a call asks for is called in the same round: what a look at pools has counted is sent at once.
    """

    def __init__(self) -> None:
        self._lock = RLock()  # Reentrant: a signal handler may count while something is counted.
        self._next: list[Callable[[], object]] = []
        self._round: list[Callable[[], object]] = []
        self._sources: dict[Callable[[], object], None] = {}
        self._thread = 0
        # In a forked child the parent's stays open: engines that were copied may still write to it.
        self._bell = -1

    def ask(self, callback: Callable[[], object]) -> None:
        """Have ``callback`` called once."""
        if get_ident() == self._thread:
            self._round.append(callback)
            return
        with self._lock:
            bell = self.bell()
            self._next.append(callback)
            if len(self._next) == 1:
                os.eventfd_write(bell, 1)

    def attend(self, source: Callable[[], object]) -> None:
        """Have ``source`` called in every round, until `leave`; whoever writes to `bell` brings one about."""
        with self._lock:
            self._sources[source] = None

    def leave(self, source: Callable[[], object]) -> None:
        """Call ``source`` no more."""
        with self._lock:
            self._sources.pop(source, None)

    def bell(self) -> int:
        """An eventfd; there is a thread that waits for it."""
        with self._lock:
            if self._bell < 0:
                self._bell = os.eventfd(0, os.EFD_CLOEXEC)
                self._thread = _daemons.start(self._beat)
            return self._bell

    def _beat(self) -> None:
        while True:
            os.eventfd_read(self._bell)
            sleep(INTERVAL)
            with self._lock:
                self._round, self._next = [*self._sources, *self._next], []
            for callback in self._round:  # Which may grow meanwhile.
                try:
                    callback()
                except Exception:
                    from traceback import print_exc

                    print_exc()
            self._round.clear()


pulse = Pulse()
os.register_at_fork(after_in_child=pulse.__init__)  # type: ignore[misc]


class Gathered:
    """A `MetricSink` that sends frames: what was added since the last one, and the latest values."""

    def __init__(self, send: Callable[[dict[str, Any]], object], pulse: Pulse = pulse) -> None:
        self._pulse = pulse
        self._begin(send)

    def _begin(self, send: Callable[[dict[str, Any]], object]) -> None:
        self._send = send
        self._lock = RLock()  # Reentrant: a signal handler may count while something is counted.
        self._counters: dict[str, float] = {}
        self._gauges: dict[str, float] = {}
        self._is_told = False  # It will be sent.

    def count(self, name: str, by: float, /) -> None:
        with self._lock:
            self._counters[name] = self._counters.get(name, 0) + by
            if not self._is_told:
                self._pulse.ask(self._beat)
                self._is_told = True

    def gauge(self, name: str, value: float, /) -> None:
        with self._lock:
            self._gauges[name] = value
            if not self._is_told:
                self._pulse.ask(self._beat)
                self._is_told = True

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

    def _beat(self) -> None:
        with self._lock:
            self._is_told = False
        self.flush()


def _to_nobody(_frame: dict[str, Any]) -> None:
    pass


def _checked(name: str) -> str:
    if not isinstance(name, str) or not 0 < len(name.encode()) <= MAX_NAME_BYTES:
        raise ValueError(f"the name of a metric is a text of 1 to {MAX_NAME_BYTES} bytes, not {name!r}")
    return name
