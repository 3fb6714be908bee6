"""From asyncio to executors: `to_thread`, `to_process` and `wrap_future`."""

from __future__ import annotations

import asyncio
import threading
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor, Future

P = ParamSpec("P")
T = TypeVar("T")


async def to_thread(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``func`` in the shared thread pool and wait for its result, with the context variables of the caller."""
    from unirun.scheduler import thread_executor

    call = partial(copy_context().run, func, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(thread_executor(), call)


async def to_process(func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Run ``func`` in the shared process pool and wait for its result."""
    from unirun.scheduler import process_executor

    future = process_executor().submit(func, *args, **kwargs)
    return await asyncio.wrap_future(future)


def wrap_future(future: Future[T], *, loop: asyncio.AbstractEventLoop | None = None) -> asyncio.Future[T]:
    """Wrap a `concurrent.futures.Future` so that it can be awaited: `asyncio.wrap_future`."""
    return asyncio.wrap_future(future, loop=loop)


async def shutdown(executor: Executor) -> None:
    """Shut ``executor`` down and wait for it; the loop stays free meanwhile.

    Whoever is cancelled here waits all the same, but only for what runs: what has not begun never does.
    """
    loop = asyncio.get_running_loop()
    down: asyncio.Future[None] = loop.create_future()

    def shut_down() -> None:
        executor.shutdown(wait=True)
        loop.call_soon_threadsafe(down.set_result, None)

    # A thread of its own: the loop's default executor may be full of tasks that wait for this very block.
    threading.Thread(target=shut_down, name="unirun-shutdown").start()
    cancelled = None
    while not down.done():
        try:
            await asyncio.wait([down])
        except asyncio.CancelledError as error:
            cancelled = error
            executor.shutdown(wait=False, cancel_futures=True)
    if cancelled is not None:
        raise cancelled
