"""A coroutine on an event loop of its own, with the service's token as what cancels it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from unirun.cancellation import CancellationToken

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def run(
    coroutine: Coroutine[Any, Any, object],
    cancellation: CancellationToken,
    *,
    loop_factory: LoopFactory | None = None,
    beat: Callable[[], object] | None = None,
    every: float = 1.0,
) -> None:
    """Run ``coroutine`` to its end, on a new loop in this thread.

    A stop that is requested, from whatever thread, arrives in it as `asyncio.CancelledError`;
    leaving with that raises `unirun.Cancelled`. ``beat`` is called by the loop every so many
    seconds: a loop that is blocked falls silent.
    """

    async def cancellable() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(coroutine)
        remove = cancellation.add_callback(lambda: loop.call_soon_threadsafe(task.cancel))

        def pulse() -> None:
            if beat is not None:
                beat()
                loop.call_later(every, pulse)

        pulse()
        try:
            await task
        finally:
            remove()  # A stop that comes later would meet a closed loop.

    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(cancellable())
    except asyncio.CancelledError:
        cancellation.raise_if_cancelled()
        raise


def fastest_loop() -> LoopFactory:
    """Uvloop's loops where uvloop is installed, else asyncio's own."""
    try:
        from uvloop import new_event_loop  # pyright: ignore[reportMissingImports]
    except ImportError:
        return asyncio.new_event_loop
    factory: LoopFactory = new_event_loop
    return factory
