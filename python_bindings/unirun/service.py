"""Services: what runs, and what it is given.

A service is a `Service` subclass, a function, or an ``async def``; it is named
``"module:attribute"`` or ``"path/to/file.py:attribute"``.
Units: every duration is in seconds (float).
"""

from __future__ import annotations

from time import monotonic

from unirun.cancellation import CancellationToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from logging import Logger
    from typing import Any, Literal, TypeVar

    from unirun._metrics import Counter, Gauge, MetricSink
    from unirun._scope import Scope
    from unirun.streams import EventStream, OpenQueue, Queue

    Metric = TypeVar("Metric", Counter, Gauge)
    Flavor = Literal["auto", "threads", "processes"]

# A heartbeat is told at most this often per timeout: a tight loop may call it freely.
HEARTBEATS_PER_TIMEOUT = 10


class Ignore(Exception):
    """Raise it instead of becoming ready: this service declines to run here, and that is no fault.

    The supervisor keeps the child without a process (OTP's ``ignore``).
    """


class Service:
    """The unit of work that is kept alive. Override `run`, or `run_async`.

    Returning ends the service normally; an exception that leaves it is a crash, and reaches the
    supervisor with type, message and traceback. A new instance is made for every life.
    """

    def run(self, context: ServiceContext) -> object:
        """Do the work until ``context.cancellation`` says stop. Runs in the main thread."""
        return self.run_async(context)  # An awaitable result is run in an event loop.

    async def run_async(self, context: ServiceContext) -> object:
        """Do the work as a coroutine; a stop arrives as `asyncio.CancelledError`."""
        raise NotImplementedError(f"{type(self).__qualname__} overrides neither run nor run_async")


class ServiceContext:
    """What a running service holds.

    Made by the host; a test may make its own: ``ServiceContext(config={"batch": 5})``.
    """

    def __init__(
        self,
        *,
        path: str = "service",
        id: str = "service",
        instance: int | None = None,
        config: Mapping[str, Any] | None = None,
        arguments: Sequence[Any] = (),
        heartbeat: float | None = None,
        cancellation: CancellationToken | None = None,
        send: Callable[[dict[str, Any]], object] | None = None,
        metrics: MetricSink | None = None,
        open_events: OpenQueue | None = None,
    ) -> None:
        self.path = path
        """Where it stands in the tree: ``"pipeline/ingest-2"``."""
        self.id = id
        """Its name among its siblings: ``"ingest-2"``."""
        self.instance = instance
        """Which of ``instances`` it is, from 1; `None` where there is but one."""
        self.config: Mapping[str, Any] = config if config is not None else {}
        """Its ``config``, as the tree gives it."""
        self.arguments = tuple(arguments)
        """What `start_child` of a dynamic supervisor appended."""
        self.cancellation = cancellation if cancellation is not None else CancellationToken()
        """Asks it to stop."""
        self._send = send if send is not None else _to_nobody
        self._quiet = heartbeat / HEARTBEATS_PER_TIMEOUT if heartbeat else None
        self._next_heartbeat = 0.0
        self._metrics = metrics
        self._named: dict[str, Counter | Gauge] | None = None  # Most name none.
        self._open_events = open_events
        self._events: EventStream | None = None

    @property
    def logger(self) -> Logger:
        """A `logging.Logger` named after the path; its records reach the host's events."""
        from logging import getLogger

        return getLogger(self.path.replace("/", "."))

    def ready(self) -> None:
        """Say that the service can serve.

        With ``readiness: notify`` the supervisor waits for it; with another kind it is harmless.
        """
        self._send({"type": "ready"})

    def heartbeat(self) -> None:
        """Say that the service lives.

        With ``liveness: heartbeat`` it must come at least once per timeout. Cheap enough for a
        tight loop: most calls only look at the clock.
        """
        if self._quiet is None:
            return
        now = monotonic()
        if now >= self._next_heartbeat:
            self._next_heartbeat = now + self._quiet
            self._tell_heartbeat()

    def _tell_heartbeat(self) -> None:
        self._send({"type": "heartbeat"})

    def status(self, text: str) -> None:
        """Say in one line what the service is doing; shown by ``unirun status`` and ``unirun tree``."""
        self._send({"type": "status", "text": str(text)})

    def counter(self, name: str) -> Counter:
        """Something that only grows: ``context.counter("jobs_done").add(1)``.

        It reaches ``/metrics`` as ``unirun_service_counter_total{service, name}`` and goes on over
        restarts. Changes are gathered and sent a few times a second. Raises `ValueError` for a
        name that is a gauge's, empty, or longer than 128 bytes.
        """
        from unirun._metrics import Counter

        return self._metric(Counter, name)

    def gauge(self, name: str) -> Gauge:
        """Something that rises and falls: ``context.gauge("queue_depth").set(7)``.

        It reaches ``/metrics`` as ``unirun_service_gauge{service, name}``, until the run that set
        it ends. Raises `ValueError` for a name that is a counter's, empty, or longer than 128 bytes.
        """
        from unirun._metrics import Gauge

        return self._metric(Gauge, name)

    def _metric(self, kind: type[Metric], name: str) -> Metric:
        if self._named is None:
            self._named = {}
        known = self._named.get(name)
        if known is None:
            if self._metrics is None:
                from unirun._metrics import Gathered

                self._metrics = Gathered(self._send)
            known = self._named.setdefault(name, kind(name, self._metrics))
        if not isinstance(known, kind):
            raise ValueError(f"{name!r} is a {type(known).__name__.lower()} already")
        return known

    @property
    def events(self) -> EventStream:
        """Everything that happens in the host, as ``host.events``: services may observe each other.

        What this service does itself is among it: whoever logs every event never comes to an end.
        Opening it raises `Unsupported` where the host has no control socket.
        """
        if self._events is None:
            from unirun.streams import EventStream

            self._events = EventStream(self._open_queue)
        return self._events

    def _open_queue(self, kinds: Sequence[str], capacity: int, name: str) -> Queue:
        if self._open_events is not None:
            return self._open_events(kinds, capacity, name)
        from unirun.errors import Unsupported

        raise Unsupported(
            "context.events: this service cannot reach its host's events; a process needs a host with a control "
            "socket (control=True, the default)"
        )

    def run(self, *, flavor: Flavor = "auto", max_workers: int | None = None, name: str | None = None) -> Scope:
        """Open a scope that holds a standard `concurrent.futures.Executor`.

        Used by ``with`` or ``async with``. ``auto`` means threads. When the scope ends, submitted
        work is waited for; once a stop was requested, what has not begun is cancelled instead.
        Raises `ValueError` for another flavor.
        """
        from unirun._scope import Scope

        return Scope(self.cancellation, flavor=flavor, max_workers=max_workers, name=self.id if name is None else name)


def _to_nobody(frame: dict[str, Any]) -> None:
    """Where a context without a host sends its frames."""
