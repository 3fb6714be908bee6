"""asyncio on unirun's loop: a drop-in for the standard one, faster where asyncio is slow.

`EventLoop` is asyncio's own loop with its engine replaced: callbacks, timers and waiting are native, over the loop
that hosts run on; transports, subprocesses, signals and TLS are the standard library's, unchanged.

    with unirun.Runner() as runner:
        runner.run(main())
"""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio import base_events, events, format_helpers
from asyncio.log import logger
from inspect import signature
from typing import TYPE_CHECKING, Any, cast

from unirun._core import LoopCore

if TYPE_CHECKING:
    from collections.abc import Callable
    from selectors import BaseSelector

# Since 3.13 callbacks are shown with their arguments in debug mode only.
_HIDES_ARGUMENTS = "debug" in signature(format_helpers._format_callback_source).parameters


class EventLoop(LoopCore, asyncio.SelectorEventLoop):
    """An asyncio event loop. Make it with `new_event_loop()`; everything asyncio documents holds.

    `selector` must be one that is itself a descriptor (`selectors.EpollSelector`, the default).
    """

    def __init__(self, selector: BaseSelector | None = None) -> None:
        if selector is not None and not hasattr(selector, "fileno"):
            raise ValueError(
                f"{type(selector).__name__} has no descriptor to wait on: use selectors.EpollSelector, or none"
            )
        super().__init__(selector)
        self._hooks_before: Any = None

    # ---- Running ----

    def run_forever(self) -> None:
        """Run until `stop()` is called."""
        self._refuse_if_attached("run_forever")
        super().run_forever()

    def stop(self) -> None:
        """Stop at the end of this round: what is ready by now is still called."""
        self._refuse_if_attached("stop")
        super().stop()

    def close(self) -> None:
        """Close the loop, and drop what was still to be called. It must not be running."""
        self._refuse_if_attached("close")
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        self._let_go()
        super().close()
        self._forget()

    def _refuse_if_attached(self, what: str) -> None:
        if self._attached:
            raise RuntimeError(f"{what}() is the host's to do: this loop runs on the host's, and as long as that")

    # ---- What the engine hands over ----

    def _callback_failed(self, handle: events.Handle, exception: BaseException) -> None:
        slots = cast("Any", handle)
        debug = {"debug": self.get_debug()} if _HIDES_ARGUMENTS else {}
        source = format_helpers._format_callback_source(slots._callback, slots._args, **debug)
        context: dict[str, Any] = {
            "message": f"Exception in callback {source}",
            "exception": exception,
            "handle": handle,
        }
        if slots._source_traceback:
            context["source_traceback"] = slots._source_traceback
        self.call_exception_handler(context)

    def _run_in_debug(self, handle: events.Handle) -> None:
        try:
            self._current_handle = handle
            start = self.time()
            handle._run()
            took = self.time() - start
            if took >= self.slow_callback_duration:
                module = cast("Any", base_events)
                module.logger.warning("Executing %s took %.3f seconds", module._format_handle(handle), took)
        finally:
            self._current_handle = None
            del handle  # An exception that is kept keeps this frame, and with it its own task alive.

    # ---- As a guest of a host (python_bindings/loop/attached_loop.h) ----

    def _begin_attached(self) -> None:
        self._thread_id = threading.get_ident()
        self._hooks_before = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
        events._set_running_loop(self)

    def _end_attached(self, patience: float) -> None:
        events._set_running_loop(None)
        sys.set_asyncgen_hooks(*self._hooks_before)
        self._thread_id = None
        try:
            self.run_until_complete(self._wind_up(patience))
        finally:
            self.close()

    async def _wind_up(self, patience: float) -> None:
        end = self.time() + patience
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            _, alive = await asyncio.wait(tasks, timeout=patience)
            for task in alive:
                logger.error("%r goes on after it was cancelled; it is left", task)
        try:
            async with asyncio.timeout_at(end):
                await self.shutdown_asyncgens()
        except TimeoutError:
            logger.error("an asynchronous generator does not end; it is left")
        await self._end_default_executor(end)

    async def _end_default_executor(self, end: float) -> None:
        executor = self._default_executor
        self._executor_shutdown_called = True
        if executor is None:
            return
        ended = self.create_future()

        def shut_down() -> None:
            executor.shutdown(wait=True)
            if not self.is_closed():
                self.call_soon_threadsafe(ended.cancel)

        threading.Thread(target=shut_down, name="asyncio-shutdown", daemon=True).start()
        _, waiting = await asyncio.wait([ended], timeout=max(0, end - self.time()))
        if waiting:
            logger.error("a thread of the default executor does not end; it is left")


def new_event_loop() -> EventLoop:
    """Return a new loop of unirun's, to be used as any of asyncio's, and closed in the end."""
    return EventLoop()


class Runner(asyncio.Runner):  # type: ignore[misc]  # Final in typeshed, not at run time.
    """`asyncio.Runner` on a loop of unirun's: `with unirun.Runner() as runner: runner.run(main())`.

    `loop_factory` makes the loop, by default `new_event_loop`. `debug` is as in asyncio.
    """

    def __init__(
        self, *, debug: bool | None = None, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    ) -> None:
        super().__init__(debug=debug, loop_factory=loop_factory or new_event_loop)
