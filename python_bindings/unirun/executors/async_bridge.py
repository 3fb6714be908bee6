"""From asyncio to executors: `to_thread`, `to_process` and `wrap_future`."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Coroutine
from concurrent.futures import CancelledError, InvalidStateError
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

import unirun
from unirun._pools import LoopBridge, NativeThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future
    from contextvars import Context

P = ParamSpec("P")
T = TypeVar("T")


def to_thread(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, T]:
    """Run ``func`` in the shared thread pool and wait for its result, with the context variables of who waits.

    As with any coroutine nothing happens before it is awaited, gathered or made a task. Who is cancelled waits no
    longer; a call that has not begun by then never does.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return _in_coroutine(func, *args, **kwargs)  # As in asyncio.run(to_thread(...)).
    call: ThreadCall[T] = ThreadCall(loop=loop)
    call._call = func, args, kwargs
    return call


async def _in_coroutine(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    return await to_thread(func, *args, **kwargs)


class ThreadCall(asyncio.Future[T], Coroutine[Any, Any, T]):
    """A call in the shared thread pool that begins once somebody waits for it.

    To asyncio it is a future, so that gather(), wait() and wait_for() make no task of it, which would cost several
    times what the call costs; to create_task() it is a coroutine. Thread: that of its loop.
    """

    __slots__ = ("_call", "_steps")

    _call: tuple[Callable[..., T], tuple[Any, ...], dict[str, Any]] | None
    _steps: Generator[Any, None, T]

    def _begin(self) -> None:
        assert self._call is not None
        func, args, kwargs = self._call
        self._call = None
        if self.done():
            return
        loop, pool = self.get_loop(), unirun.thread_executor()
        if isinstance(pool, NativeThreadPool):
            pool.submit_to(bridge_to(loop), self, func, *args, **kwargs)
        else:
            future = pool.submit(copy_context().run, func, *args, **kwargs)
            asyncio.futures._chain_future(future, self)  # type: ignore[attr-defined]

    def add_done_callback(self, fn: Callable[[Any], object], /, *, context: Context | None = None) -> None:
        if self._call is not None:
            self._begin()
        _add_done_callback(self, fn, context=context)

    def __await__(self) -> Generator[Any, None, T]:
        if self._call is not None:
            self._begin()
        return _steps_of(self)

    __iter__ = __await__

    # ---- As a coroutine ----

    def send(self, value: None, /) -> Any:
        if self._call is not None:
            self._steps = self.__await__()
        return self._steps.send(value)

    def throw(self, *raised: Any) -> Any:
        if self._call is not None:
            self.close()
            self._steps = _steps_of(self)
        return self._steps.throw(*raised)

    def close(self) -> None:
        self._call = None
        self.cancel()


_add_done_callback = asyncio.Future.add_done_callback
_steps_of = asyncio.Future.__await__


def bridge_to(loop: asyncio.AbstractEventLoop) -> LoopBridge:
    """The one by which this loop hears from threads; it lives as long as the loop."""
    if (last := getattr(_last, "of", None)) is not None and last[0]() is loop:
        return cast("LoopBridge", last[1])
    bridge = _bridges.get(loop)
    if bridge is None:
        bridge = _bridges[loop] = LoopBridge(_for_asyncio)
        loop.add_reader(bridge.fileno(), bridge.deliver)
    _last.of = weakref.ref(loop), bridge
    return bridge


def _for_asyncio(raised: BaseException) -> BaseException:
    """Asyncio has classes of its own for two of these, as `asyncio.wrap_future` knows."""
    if type(raised) is CancelledError:
        return asyncio.CancelledError(*raised.args)
    if type(raised) is InvalidStateError:
        return asyncio.InvalidStateError(*raised.args)
    return raised


_bridges: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, LoopBridge] = weakref.WeakKeyDictionary()
_last = threading.local()  # The loop of this thread that asked last, and its bridge.


async def to_process(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``func`` in the shared process pool and wait for its result."""
    future = unirun.process_executor().submit(func, *args, **kwargs)
    return await asyncio.wrap_future(future)


def wrap_future(future: Future[T], *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[T]:
    """Wrap a `concurrent.futures.Future` so that it can be awaited: `asyncio.wrap_future`."""
    return asyncio.wrap_future(future, loop=loop)
