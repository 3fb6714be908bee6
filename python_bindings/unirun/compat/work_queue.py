"""What a managed pool of threads shows as its ``_work_queue``, for programs that empty, count or fill it."""

from __future__ import annotations

import weakref
from concurrent.futures import CancelledError
from queue import Empty
from typing import TYPE_CHECKING, Any

from unirun.executors import threads as _native

if TYPE_CHECKING:
    from collections.abc import Callable

    from unirun import _pools


class WorkItem:
    """A queued call, as the standard pool's: with its future, and to be run by whoever took it."""

    def __init__(self, future: Any, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.future = future
        self.fn = fn
        self.args = args
        self.kwargs = kwargs

    def run(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self.fn(*self.args, **self.kwargs)
        except BaseException as error:
            self.future.set_exception(error)
        else:
            self.future.set_result(result)


class WorkQueue:
    """A `queue.SimpleQueue` before the engine's own queue. Thread: any.

    Who waits in `get` for what others submit does the threads' work: that needs the standard machinery.
    """

    __slots__ = ("_engine", "_pool", "_step_back")

    def __init__(
        self, pool: _native.ThreadPoolExecutor, engine: _pools.ThreadEngine, step_back: Callable[[str], Any]
    ) -> None:
        # ``step_back``: the pool's method that has the standard machinery serve it and returns its queue.
        self._pool = weakref.ref(pool)
        self._engine = engine
        self._step_back = weakref.WeakMethod(step_back)

    def qsize(self) -> int:
        return self._engine.qsize()

    def empty(self) -> bool:
        return self._engine.empty()

    def get_nowait(self) -> WorkItem:
        if (item := self._engine.pop(CancelledError)) is None:
            raise Empty
        return WorkItem(*item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        try:
            return self.get_nowait()
        except Empty:
            step_back = self._step_back()
            if not block or step_back is None:
                raise
        return step_back("the program waits at its _work_queue").get(block, timeout)

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:  # noqa: ARG002
        """Have a thread of the pool call ``item.run()``; None is the word by which threads end."""
        pool = self._pool()
        if item is None or pool is None:
            self._engine.put(None)
        else:
            _native.ThreadPoolExecutor.submit(pool, item.run)

    put_nowait = put
