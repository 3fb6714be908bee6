"""Shuts an executor down from a coroutine, with the loop free meanwhile."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor


async def shutdown(executor: Executor, *, cancel_futures: bool = False) -> None:
    """Shut ``executor`` down and wait for it; the loop stays free meanwhile.

    Whoever is cancelled here waits all the same, but only for what runs: what has not begun never does.
    """
    loop = asyncio.get_running_loop()
    down: asyncio.Future[None] = loop.create_future()

    def shut_down() -> None:
        executor.shutdown(wait=True, cancel_futures=cancel_futures)
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
