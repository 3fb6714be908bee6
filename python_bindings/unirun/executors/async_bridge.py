"""From asyncio to executors: `to_thread`, `to_process` and `wrap_future`."""

from __future__ import annotations

import asyncio
import threading
import weakref
from concurrent.futures import CancelledError, InvalidStateError
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from unirun._pools import LoopBridge, NativeThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

P = ParamSpec("P")
T = TypeVar("T")


async def to_thread(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``func`` in the shared thread pool and wait for its result, with the context variables of the caller.

    Who is cancelled here waits no longer; a call that has not begun never does.
    """
    from unirun.scheduler import thread_executor

    pool = thread_executor()
    loop = asyncio.get_running_loop()
    if not isinstance(pool, NativeThreadPool):
        return await loop.run_in_executor(pool, partial(copy_context().run, func, *args, **kwargs))
    future: asyncio.Future[T] = loop.create_future()
    pool.submit_to(bridge_to(loop), future, func, *args, **kwargs)
    return await future


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
    from unirun.scheduler import process_executor

    future = process_executor().submit(func, *args, **kwargs)
    return await asyncio.wrap_future(future)


def wrap_future(future: Future[T], *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[T]:
    """Wrap a `concurrent.futures.Future` so that it can be awaited: `asyncio.wrap_future`."""
    return asyncio.wrap_future(future, loop=loop)
