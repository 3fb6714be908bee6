"""Services inside this process: what the native executors call, on a thread or on the loop.

Everything here runs in the host's own interpreter. Its modules, its logging and its ``sys.path``
are shared by all services that live here, and ``os._exit`` ends them all.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from json import loads
from logging import NOTSET
from typing import TYPE_CHECKING, Any

from unirun import _core, _current_service, _logging_bridge, _target
from unirun._failure import describe
from unirun.cancellation import CancellationToken, Cancelled
from unirun.service import Ignore, ServiceContext

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from logging import Logger
    from types import FrameType

    from unirun._core import ServiceLink
    from unirun._service_pools import ServicePools
    from unirun.streams import Queue

# What services start by themselves ends with the host, if that has a process of its own.
os.environ.update(_core.host_marks())

# Read before every callback on the loop, to say whose it is (services/asyncio_loops.cpp).
_on_loop: ContextVar[ServiceLink | None] = ContextVar("unirun_service_on_loop", default=None)
_making_callbacks = threading.Lock()
_importing = threading.Lock()  # sys.path belongs to all.
_logging_is_routed = False

Outcome = tuple[str, int, str, str, str]


class LinkedToken(CancellationToken):
    """A token whose request comes from native code, which wakes who waits without the GIL.

    Most services only ask or wait; what callbacks need is made for the first of them.
    """

    __slots__ = ("_has_callbacks", "_link")

    def __init__(self, link: ServiceLink) -> None:
        self._requested = False
        self._has_callbacks = False
        self._link = link

    @property
    def is_cancellation_requested(self) -> bool:
        return self._requested or self._link.cancelled

    def wait(self, timeout: float | None = None) -> bool:
        return self._requested or self._link.wait(timeout)

    def raise_if_cancelled(self) -> None:
        if self.is_cancellation_requested:
            raise Cancelled("a stop was requested")

    def add_callback(self, callback: Callable[[], object]) -> Callable[[], None]:
        with _making_callbacks:
            is_first = not self._has_callbacks
            if is_first:
                super().__init__()
                self._has_callbacks = True
        remove = super().add_callback(callback)
        if is_first:
            self._link.on_cancel(self.cancel)
        return remove

    def cancel(self) -> bool:
        if self._has_callbacks:
            return super().cancel()
        was_requested, self._requested = self.is_cancellation_requested, True
        return not was_requested


class InProcessContext(ServiceContext):
    """The context of a service that shares its interpreter with others."""

    def __init__(self, link: ServiceLink, arguments: str, heartbeat: float | None, log_level: str) -> None:
        super().__init__(
            path=link.path,
            id=link.id,
            instance=link.instance,
            config=loads(config) if (config := link.config) else None,
            arguments=loads(arguments) if arguments else (),
            heartbeat=heartbeat,
            cancellation=LinkedToken(link),
            metrics=link,
        )
        self._link = link
        self._log_level = log_level

    def ready(self) -> None:
        self._link.ready()

    def status(self, text: str) -> None:
        self._link.status(str(text))

    def _make_pools(self) -> ServicePools:
        pools = super()._make_pools()
        # A service that waits for its pool does not answer before that is gone.
        self._link.on_interrupt(pools.end)
        return pools

    def on_task_ended(self, task: Task[object]) -> None:
        """Its coroutine has ended."""
        try:
            self._end_pools()
        finally:
            self._link.tell_ended(task)

    def tell_log(self, frame: dict[str, Any]) -> None:
        """Pass on a log record that its code has made."""
        self._link.log(frame["level"], frame["logger"], frame["message"], frame["file"], frame["line"], frame["extra"])

    def _tell_heartbeat(self) -> None:
        self._link.heartbeat()

    def _open_queue(self, kinds: Sequence[str], capacity: int, name: str) -> Queue:
        return self._link.open_events(kinds, capacity, name)

    @property
    def logger(self) -> Logger:
        """A `logging.Logger` named after the path; its records reach the host's events."""
        logger = super().logger
        if logger.level == NOTSET:  # The root's level is the program's affair.
            logger.setLevel(self._log_level.upper())
        return logger


class Life:
    """One life of one service."""

    __slots__ = ("_arguments", "_heartbeat", "_is_prepared", "_link", "_log_level", "_on_loop", "_places", "_target")

    def __init__(
        self, target: str, arguments: str, places: str, heartbeat: float | None, on_loop: bool, log_level: str
    ) -> None:
        self._target = target
        self._arguments = arguments
        self._places = places
        self._heartbeat = heartbeat
        self._on_loop = on_loop
        self._log_level = log_level
        self._is_prepared = False
        self._link: ServiceLink | None = None

    def prepare(self) -> None:
        """Import the target. What that raises is a failed start."""
        _route_logging()
        with _importing:
            for place in reversed(self._places.split(":")):
                if place and place not in sys.path:
                    sys.path.insert(0, place)
        _target.check(self._load(), self._target, on_loop=self._on_loop)

    def run(self, link: ServiceLink) -> None:
        """Run it in this thread, to its end."""
        context = self._context(link)
        # Past its setter: from 3.14 on that names the native thread too, which has the name of its service already.
        threading.current_thread()._name = context.path  # type: ignore[attr-defined]
        _current_service.enter(context)
        try:
            context.cancellation.raise_if_cancelled()
            call, takes_context = self._bind(context)
            if not takes_context:
                link.interrupt_on_cancel()
            result = call()
            if hasattr(result, "__await__"):
                from unirun import _own_loop

                _own_loop.run(result, context.cancellation)
        finally:
            try:
                context._end_pools()
            except Cancelled:  # An interruption has struck there.
                context._end_pools()
                raise
            finally:
                _current_service.enter(None)
                forget_thread()

    def begin(self, link: ServiceLink, loop: AbstractEventLoop) -> Task[object]:
        """Begin it as a task on ``loop``, which runs in this thread."""
        self._link = link
        context = self._context(link)
        context.cancellation.raise_if_cancelled()
        surroundings = copy_context()
        surroundings.run(_on_loop.set, link)
        surroundings.run(_current_service.enter, context)
        try:
            call, _ = surroundings.run(self._bind, context)
        except BaseException:
            context._end_pools()
            raise
        if loop.get_exception_handler() is None:
            loop.set_exception_handler(_on_loop_exception)
        task = loop.create_task(call(), name=context.path, context=surroundings)
        task.add_done_callback(context.on_task_ended)
        return task

    def finish(self, task: Task[object]) -> None:
        """Raise what ended ``task``, and return where it returned."""
        task.result()

    def outcome(self, error: BaseException) -> Outcome:
        """What ``error`` says of the end, in the words of `ExitKind`."""
        if isinstance(error, Cancelled) or self._is_answer(error):
            return "cancelled", 0, "", "", ""
        if isinstance(error, Ignore):
            return "declined", 0, "", "", ""
        if isinstance(error, SystemExit):
            if error.code is None or error.code == 0:
                return "normal", 0, "", "", ""
            if isinstance(error.code, int):
                return "exit_code", error.code, "", "", ""
            print(error.code, file=sys.stderr)
            return "exit_code", 1, "", "", ""
        text = describe(error)
        kind = "exception" if self._is_prepared else "start_failed"
        return kind, 1, text["type"], text["message"], text["traceback"]

    def _is_answer(self, error: BaseException) -> bool:
        """Whether it is the `asyncio.CancelledError` that a stop has raised."""
        if not self._on_loop or self._link is None or not self._link.cancelled:
            return False
        from asyncio import CancelledError

        return isinstance(error, CancelledError)

    def _load(self) -> Any:
        return _target.load(self._target, in_process=True)

    def _context(self, link: ServiceLink) -> InProcessContext:
        return InProcessContext(link, self._arguments, self._heartbeat, self._log_level)

    def _bind(self, context: InProcessContext) -> tuple[Callable[[], Any], bool]:
        bound = _target.bind(self._load(), self._target, context, on_loop=self._on_loop)
        self._is_prepared = True
        return bound


def _on_loop_exception(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """What a callback raised, into the log; a task's SystemExit is that service's end, and told there."""
    if not isinstance(context.get("exception"), (SystemExit, KeyboardInterrupt)):
        loop.default_exception_handler(context)


def forget_thread() -> None:
    """Have `threading` forget this native thread, which ends: it has made a dummy of it, if it was asked."""
    known: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
    if isinstance(threading.current_thread(), threading._DummyThread):
        known.pop(threading.get_ident(), None)


def stack_of(thread: int) -> str:
    """The stack of that thread as a traceback shows it; empty where it runs no Python."""
    from traceback import format_stack

    frame = sys._current_frames().get(thread)
    return "".join(format_stack(frame)) if frame is not None else ""


def stack_of_task(task: Task[object], thread: int | None) -> str:
    """Where a service on the loop stands: in ``thread``, if that runs it now, else where its task waits."""
    from traceback import StackSummary, format_list

    if thread is not None:
        return stack_of(thread)
    frames = [(frame, frame.f_lineno) for frame in _waiting_frames(task.get_coro())]
    return "".join(format_list(StackSummary.extract(iter(frames))))


def _waiting_frames(waiting: Any) -> Iterator[FrameType]:
    """From a coroutine to whatever it awaits in the end; `Task.get_stack` knows the first frame only."""
    while waiting is not None:
        for prefix, awaited in (("cr", "cr_await"), ("gi", "gi_yieldfrom"), ("ag", "ag_await")):
            frame = getattr(waiting, f"{prefix}_frame", None)
            if frame is not None:
                yield frame
                waiting = getattr(waiting, awaited)
                break
        else:
            return


def _route_logging() -> None:
    """Have log records go to the service in whose thread or task they are made."""
    global _logging_is_routed
    with _importing:
        if not _logging_is_routed:
            _logging_is_routed = True
            _logging_bridge.attach(_tell_current, wants=lambda: _current_service.current() is not None)


def _tell_current(frame: dict[str, Any]) -> None:
    context = _current_service.current()
    if isinstance(context, InProcessContext):
        context.tell_log(frame)
