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
    from typing import Any, Literal

    from unirun._scope import Scope

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
            self._send({"type": "heartbeat"})

    def status(self, text: str) -> None:
        """Say in one line what the service is doing; shown by ``unirun status --json``."""
        self._send({"type": "status", "text": str(text)})

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
