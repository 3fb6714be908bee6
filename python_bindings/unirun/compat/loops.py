"""What `unirun.compat.asyncio` has of its own: event loops whose threads are those of a managed pool."""

from __future__ import annotations

from asyncio import base_events, events, selector_events, threads
from contextvars import copy_context
from functools import partial
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypeVar, cast

from unirun._pools import NativeThreadPool
from unirun.compat.pools import passing_for
from unirun.compat.threads import ThreadPoolExecutor
from unirun.executors.async_bridge import bridge_to

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable
    from concurrent.futures import Executor

    Loop = asyncio.AbstractEventLoop

__all__ = ["get_event_loop", "get_running_loop", "new_event_loop", "run_in_executor", "to_thread"]

T = TypeVar("T")
_NATIVE_SUBMIT = cast("Any", NativeThreadPool).submit


def _with_pool(loop: Loop) -> Loop:
    """``loop``, its default executor a managed pool, unless it has one or cannot be asked."""
    if getattr(loop, "_default_executor", loop) is None and not getattr(loop, "_executor_shutdown_called", True):
        loop.set_default_executor(ThreadPoolExecutor(thread_name_prefix="asyncio"))
    return loop


def _counted_as_asyncio(function: T) -> T:
    """``function``, a part of asyncio to whoever looks for the line that has called that: its warnings do."""
    code = cast("FunctionType", function).__code__
    return cast("T", FunctionType(code, {**globals(), "__name__": events.__name__}))


@passing_for(events.get_running_loop)
def get_running_loop() -> Loop:
    return _with_pool(events.get_running_loop())


@passing_for(events.get_event_loop)
@_counted_as_asyncio
def get_event_loop() -> Loop:
    return _with_pool(events.get_event_loop())


@passing_for(events.new_event_loop)
def new_event_loop() -> Loop:
    return _with_pool(events.new_event_loop())


@passing_for(threads.to_thread)
async def to_thread(func: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    loop = get_running_loop()
    pool = _native_pool_of(loop)
    if pool is None:
        return await loop.run_in_executor(None, partial(copy_context().run, func, *args, **kwargs))
    future: asyncio.Future[T] = loop.create_future()
    pool.submit_to(bridge_to(loop), future, func, *args, **kwargs)
    return await future


async def run_in_executor(executor: Executor | None, func: Callable[..., T], *args: Any) -> T:
    """``await loop.run_in_executor(executor, func, *args)`` on the running loop; None: its managed pool."""
    return await get_running_loop().run_in_executor(executor, func, *args)


def _native_pool_of(loop: Any) -> ThreadPoolExecutor | None:
    """The default executor of ``loop``, where results may come back all at once: nobody has changed how it works."""
    kind = type(loop)
    pool = getattr(loop, "_default_executor", None)
    if (
        isinstance(pool, ThreadPoolExecutor)
        and type(pool) is ThreadPoolExecutor
        and type(pool).submit is _NATIVE_SUBMIT  # Not recorded, not patched.
        and pool._engine is not None
        and not loop.get_debug()
        and not loop._executor_shutdown_called
        and kind.run_in_executor is base_events.BaseEventLoop.run_in_executor
        and kind.add_reader is selector_events.BaseSelectorEventLoop.add_reader
    ):
        return pool
    return None
