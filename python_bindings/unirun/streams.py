"""Event streams: events from a host to a callback, a loop, or an async loop.

Each reader has a bounded queue of its own. One that is too slow loses events (a gap in
``sequence``, and an `ObserverDropped`), and harms nobody else.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, Protocol, Self

from unirun.events import BY_KIND, Event, event_from

CAPACITY = 65_536

Kind = str | type[Event]


class Queue(Protocol):
    """The reading end of a stream of events, each a JSON text."""

    def take(self, timeout: float | None) -> list[str]:
        """All that has come, waiting for the first. Empty on timeout or at the end."""
        ...

    def close(self) -> None:
        """End it, and wake a waiting `take`."""

    @property
    def closed(self) -> bool:
        """Whether nothing more will come than what is there."""
        ...

    @property
    def dropped(self) -> int:
        """How many events did not fit."""
        ...


OpenQueue = Callable[[Sequence[str], int, str], Queue]
"""Opens a queue: for events of these kinds (none: all), of this capacity, under this name."""


class Subscription:
    """A callback that gets events, in a thread of its own, until `close` or the host's end."""

    def __init__(
        self,
        queue: Queue,
        callback: Callable[[Event], object],
        threads: list[threading.Thread],
    ) -> None:
        self._queue = queue
        self._callback = callback
        self._thread = threading.Thread(target=self._run, name="unirun-events", daemon=True)
        add_thread(threads, self._thread)

    @property
    def dropped(self) -> int:
        """How many events were lost because the callback was too slow."""
        return self._queue.dropped

    def close(self) -> None:
        """Take the callback off. It is not called any more once this returns."""
        self._queue.close()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the callback has had every event of a host that ended. False on timeout."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        for event in _events(self._queue):
            try:
                self._callback(event)
            except Exception:
                logging.getLogger("unirun.events").exception(
                    "the subscriber %r failed at %s and is taken off", self._callback, event.kind
                )
                self._queue.close()
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EventStream:
    """The events of one host. Subscribe before `Host.start` to miss none."""

    def __init__(self, open_queue: OpenQueue) -> None:
        self._open_queue = open_queue
        self.threads: list[threading.Thread] = []
        """Those that read for somebody; whoever ends the host joins them."""

    def subscribe(
        self,
        callback: Callable[[Event], object],
        *,
        kinds: Sequence[Kind] = (),
        capacity: int = CAPACITY,
    ) -> Subscription:
        """Call ``callback`` with every event of ``kinds`` (words or classes; none means all).

        It is called in a thread of its own, one event at a time. If it raises, that is logged,
        and it is taken off.
        """
        name = getattr(callback, "__qualname__", type(callback).__name__)
        queue = self._open_queue(_words(kinds), capacity, name)
        return Subscription(queue, callback, self.threads)

    def iterate(self, *, kinds: Sequence[Kind] = (), capacity: int = CAPACITY) -> Iterator[Event]:
        """Every event from now on, up to the host's end."""
        return _events(self._open_queue(_words(kinds), capacity, "iterator"))

    def iterate_async(self, *, kinds: Sequence[Kind] = (), capacity: int = CAPACITY) -> AsyncIterator[Event]:
        """The same for ``async for``."""
        return _events_async(self._open_queue(_words(kinds), capacity, "async iterator"), self.threads)

    def __iter__(self) -> Iterator[Event]:
        return self.iterate()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self.iterate_async()


def _events(queue: Queue) -> Iterator[Event]:
    try:
        while texts := queue.take(None):
            for text in texts:
                yield event_from(json.loads(text))
    finally:
        queue.close()


async def _events_async(queue: Queue, threads: list[threading.Thread]) -> AsyncIterator[Event]:
    import asyncio

    # A thread waits for this loop; its own, so that the loop's default pool stays free.
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[list[str]] = asyncio.Queue()
    room = threading.Semaphore(2)

    def read() -> None:
        texts: list[str] = ["-"]
        while texts:
            room.acquire()  # Otherwise a slow loop would hoard what the bounded queue limits.
            texts = queue.take(None)
            try:
                loop.call_soon_threadsafe(arrived.put_nowait, texts)
            except RuntimeError:  # The loop was closed.
                return

    reader = threading.Thread(target=read, name="unirun-events", daemon=True)
    add_thread(threads, reader)
    try:
        while texts := await arrived.get():
            for text in texts:
                yield event_from(json.loads(text))
            room.release()
    finally:
        queue.close()
        room.release()


def add_thread(threads: list[threading.Thread], thread: threading.Thread) -> None:
    """Start ``thread`` and note it; those that have ended are forgotten."""
    threads[:] = [other for other in threads if other.is_alive()]
    threads.append(thread)
    thread.start()


def _words(kinds: Sequence[Any]) -> list[str]:
    words = [kind if isinstance(kind, str) else kind.kind for kind in kinds]
    for word in words:
        if word not in BY_KIND:
            raise ValueError(f"kinds: {word!r} is not one of {', '.join(sorted(BY_KIND))}")
    return words
