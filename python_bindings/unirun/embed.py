"""unirun's PythonExecutor inside this Python: what C++ extension modules share with its Python code.

``initialize()`` starts the workers (``attach_to_host`` for an extension module of C++), and they end
before Python does, whichever way the program ends. ``state`` is the program's shared state: values and
counters by name, for all threads, interpreters and child processes; it needs no workers.

    with embed.initialize(num_workers=2):
        embed.submit(compute, 3).result()
    unirun.state.incr("requests")
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from functools import partial

from unirun._embed import Counter, SharedState, is_initialized, prometheus_text, shutdown, state, stats, waiting
from unirun._embed import attach as _attach
from unirun._embed import submit as _submit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType
    from typing import Literal, ParamSpec, Self, TypeVar

    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = [
    "Attachment",
    "Counter",
    "SharedState",
    "initialize",
    "is_initialized",
    "prometheus_text",
    "shutdown",
    "state",
    "stats",
    "submit",
    "waiting",
]


class Attachment:
    """What ``initialize()`` gives: at the end of its ``with`` the executor is shut down."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if is_initialized():
            shutdown()


def initialize(
    *,
    num_workers: int = 0,
    queue_size: int = 10_000,
    overflow: Literal["reject", "block", "drop_oldest"] = "reject",
    sys_path: Sequence[str] = (),
    preload: Sequence[str] = (),
) -> Attachment:
    """Starts the executor; ``num_workers`` 0 is as many as this process may use cores.

    In a program of C++ that runs this Python it runs already, which is an error, and submit() finds it.
    """
    _attach(num_workers=num_workers, queue_size=queue_size, overflow=overflow, sys_path=sys_path, preload=preload)
    return Attachment()


def submit(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Calls ``function`` on a worker.

    A full queue, or an executor that does not run (any more), comes as the future's exception; what waits
    when the executor ends is cancelled.
    """
    future: Future[T] = Future()
    _submit(partial(_run, future, function, args, kwargs), partial(_refuse, future))
    return future


def _run(future: Future[T], function: Callable[..., T], args: tuple[object, ...], kwargs: dict[str, object]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = function(*args, **kwargs)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


def _refuse(future: Future[T], error: BaseException) -> None:
    """The task was not run, or was ended while it ran: then its own outcome may come first, or too late."""
    with suppress(InvalidStateError):
        if isinstance(error, CancelledError) and future.cancel():
            future.set_running_or_notify_cancel()
        elif future.running() or (not future.done() and future.set_running_or_notify_cancel()):
            future.set_exception(error)
