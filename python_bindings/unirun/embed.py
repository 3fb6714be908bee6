"""unirun's PythonExecutor inside this Python: what C++ extension modules share with its Python code.

``initialize()`` starts the workers (``attach_to_host`` for an extension module of C++), and they end
before Python does, whichever way the program ends. ``state`` is the program's shared state: values and
counters by name, for all threads, interpreters and child processes; it needs no workers.

    with embed.initialize(num_workers=2):
        embed.submit(compute, 3).result()
        embed.parallel([("images", "shrink", ("a.png",)), ("images", "shrink", ("b.png",))])
    unirun.state.incr("requests")
"""

from __future__ import annotations

from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import suppress
from functools import partial
from itertools import starmap
from typing import NamedTuple

from unirun._embed import (
    Counter,
    Interrupted,
    SharedState,
    async_call,
    call,
    functions,
    is_initialized,
    prometheus_text,
    shutdown,
    state,
    stats,
    waiting,
)
from unirun._embed import attach as _attach
from unirun._embed import execution_mode as _execution_mode
from unirun._embed import parallel as _parallel
from unirun._embed import submit as _submit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType
    from typing import Any, Literal, ParamSpec, Self, TypeVar

    Mode = Literal["automatic", "free_threaded", "subinterp", "multi_executor", "process"]
    P = ParamSpec("P")
    T = TypeVar("T")

__all__ = [
    "Attachment",
    "Call",
    "Counter",
    "Interrupted",
    "ModeReport",
    "Refusal",
    "SharedState",
    "async_call",
    "call",
    "execution_mode",
    "functions",
    "initialize",
    "is_initialized",
    "parallel",
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
    use_subinterpreters: bool = False,
    allow_unsafe_subinterpreters: bool = False,
    num_subinterp_workers: int = 0,
    keyboard_interrupt: bool = False,
) -> Attachment:
    """Starts the executor; ``num_workers`` 0 is as many as this process may use cores.

    With ``use_subinterpreters`` each worker has an interpreter and a GIL of its own, for calls by name:
    submit() refuses function objects, which stay in their interpreter. Before Python 3.14 these take
    ``allow_unsafe_subinterpreters``, with which parallel() uses them too; see execution_mode().

    ``num_subinterp_workers`` bounds what parallel() uses at once; never more than one a core. With
    ``keyboard_interrupt`` a task that is interrupted may handle that as Ctrl-C.

    In a program of C++ that runs this Python it runs already, which is an error, and submit() finds it.
    """
    _attach(
        num_workers=num_workers,
        queue_size=queue_size,
        overflow=overflow,
        sys_path=sys_path,
        preload=preload,
        use_subinterpreters=use_subinterpreters,
        allow_unsafe_subinterpreters=allow_unsafe_subinterpreters,
        num_subinterp_workers=num_subinterp_workers,
        keyboard_interrupt=keyboard_interrupt,
    )
    return Attachment()


class Call(NamedTuple):
    """A call by name: what a function object says is known in its own interpreter alone."""

    module: str
    function: str  # "name", or "Class.name".
    args: Sequence[object] = ()
    kwargs: Mapping[str, object] = {}


def parallel(
    calls: Iterable[Call | tuple[str, str] | tuple[str, str, Sequence[object]]],
    *,
    timeout: float | None = None,
    mode: Mode = "automatic",
) -> list[Any]:
    """Makes the calls beside one another, at most one a core, and waits: what each gave, in their order.

    One that fails gives its exception instead, as ``asyncio.gather(return_exceptions=True)`` has it, and
    spoils no other. ``timeout``, in seconds, is for all of them; what has ended by then is kept. Arguments
    and what is returned travel as values: None, bool, int, float, str, bytes, lists and dicts of them.

    What runs them execution_mode() says, or ``mode``; what cannot be had is refused, as a RuntimeError.
    """
    given = starmap(Call, calls)
    return _parallel([(c.module, c.function, tuple(c.args), dict(c.kwargs)) for c in given], timeout, mode)


class Refusal(NamedTuple):
    """A module that does not load in interpreters with a GIL of their own."""

    module: str
    why: str


class ModeReport(NamedTuple):
    """What is parallel here, and why."""

    mode: Mode  # "automatic" while there is no executor.
    reason: str
    python_version: str
    gil_enabled: bool
    refused_modules: tuple[Refusal, ...]  # Calls of these run in worker processes.


def execution_mode() -> ModeReport:
    """Says what parallel() uses: threads without a GIL, interpreters with one each, or worker processes."""
    mode, reason, version, gil_enabled, refused = _execution_mode()
    return ModeReport(mode, reason, version, gil_enabled, tuple(Refusal(*one) for one in refused))


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
