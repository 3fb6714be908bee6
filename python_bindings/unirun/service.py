"""Services: what runs, and what it is given.

A service is a `Service` subclass, a function, or an ``async def``; it is named
``"module:attribute"`` or ``"path/to/file.py:attribute"``.
Units: every duration is in seconds (float).
"""

from __future__ import annotations

from _thread import allocate_lock
from time import monotonic

from unirun.cancellation import CancellationToken

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from logging import Logger
    from typing import Any, TypeVar

    from unirun._metrics import Counter, Gauge, MetricSink
    from unirun._service_pools import ServicePools
    from unirun.scope import Flavor, Run
    from unirun.streams import EventStream, OpenQueue, Queue

    Metric = TypeVar("Metric", Counter, Gauge)

# A heartbeat is told at most this often per timeout: a tight loop may call it freely.
HEARTBEATS_PER_TIMEOUT = 10

_making_pools = allocate_lock()


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

    _pools: ServicePools | None = None  # Most open none.
    _has_ended = False

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
            known = self._named.setdefault(name, kind(name, self._sink()))
        if not isinstance(known, kind):
            raise ValueError(f"{name!r} is a {type(known).__name__.lower()} already")
        return known

    def _sink(self) -> MetricSink:
        if self._metrics is None:
            from unirun._metrics import Gathered

            self._metrics = Gathered(self._send)
        return self._metrics

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

    def run(self, *, flavor: Flavor = "auto", max_workers: int | None = None, name: str | None = None) -> Run:
        """Open a `Run` that belongs to this service, in whatever thread.

        Used by ``with`` or ``async with``; it holds a `concurrent.futures.Executor`. When the block ends,
        submitted work is waited for; once a stop was requested, what has not begun is cancelled instead.
        Threads and processes are named after the service, tasks counted in its metrics; what is open when the
        service ends is ended with it. Raises as `Run` does.
        """
        from unirun.scope import Run

        return Run(flavor=flavor, max_workers=max_workers, name=name).belonging_to(self)

    def name_pool(self, name: str | None) -> str:
        """What the threads and processes of a pool are called: ``pipeline/ingest:resize``; `None` for the path."""
        return self.path if name is None else f"{self.path}:{name}"

    def _opened(self) -> ServicePools:
        """The executors that it has open. Thread: any."""
        with _making_pools:
            if self._pools is None:
                self._pools = self._make_pools()
                if self._has_ended:
                    self._pools.end()
            return self._pools

    def _make_pools(self) -> ServicePools:
        from unirun._service_pools import ServicePools

        return ServicePools(self.path, self._sink())

    def _end_pools(self) -> None:
        """End what it has left open, and let it open no more."""
        self._has_ended = True
        if self._pools is not None:
            self._pools.end()


def _to_nobody(frame: dict[str, Any]) -> None:
    """Where a context without a host sends its frames."""
