"""The managed `ThreadPoolExecutor`: the native engine, with the standard class's constructor, sizes and names."""

from __future__ import annotations

import threading
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from unirun._standard import standard
from unirun.compat.pools import NEEDS_STANDARD, StandIn, decide, passing_for, replaced_in, wants_standard
from unirun.compat.work_queue import WorkQueue
from unirun.executors import threads as _native
from unirun.executors.pools import CANNOT_START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import thread as _standard
else:
    _standard = standard("concurrent.futures.thread")

__all__ = ["ThreadPoolExecutor"]

T = TypeVar("T")

_UNUSED = ("_WorkItem.__init__", "_WorkItem.run", "_worker")  # What the engine does not call.


class _Replaceable:
    """An attribute of the pool: whoever puts another object in its place gets the standard machinery, which uses it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, pool: ThreadPoolExecutor | None, owner: type) -> Any:
        if pool is None:
            raise AttributeError(f"type object {owner.__name__!r} has no attribute {self._name!r}")
        return vars(pool)[self._name]

    def __set__(self, pool: ThreadPoolExecutor, value: object) -> None:
        engine = pool._engine
        if engine is not None and value is engine:
            value = WorkQueue(pool, pool._engine, pool._step_back)
        elif engine is not None and value is not vars(pool)[self._name]:
            pool._step_back(f"{self._name} was replaced")
        vars(pool)[self._name] = value


class ThreadPoolExecutor(_native.ThreadPoolExecutor, metaclass=StandIn):
    """`concurrent.futures.ThreadPoolExecutor` on the native engine.

    With ``initializer``, and where the engine cannot start, the standard machinery serves it, with a
    `RuntimeWarning`; ``UNIRUN_ENGINE=stdlib`` has it serve every pool.
    """

    __module__ = _standard.__name__
    __stands_for__ = _standard.ThreadPoolExecutor

    _engine: Any = None

    @passing_for(_standard.ThreadPoolExecutor.__init__)
    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **context: Any,  # From 3.14 on the standard class looks at it.
    ) -> None:
        why = NEEDS_STANDARD if initializer is not None else ""
        if type(self)._adjust_thread_count is not ThreadPoolExecutor._adjust_thread_count:
            why = why or "its class has an _adjust_thread_count of its own"  # Whose threads read the standard queue.
        why = why or replaced_in(_standard, _UNUSED)
        configured = wants_standard()
        if not (why or configured or context):
            try:
                super().__init__(max_workers, thread_name_prefix)
            except CANNOT_START as error:
                why = f"the native thread engine cannot start: {error!r}"
        if why or configured or context:
            self._drop_engine()
            _standard.ThreadPoolExecutor.__init__(
                self, max_workers, thread_name_prefix, initializer, initargs, **context
            )
        decide(self, "thread", max_workers, why or ("as configured" if configured else ""), expected=not why)

    # ---- What programs reach into ----

    @property
    def _max_workers(self) -> int:
        limit: int = vars(self)["_max_workers"]
        return limit

    @_max_workers.setter
    def _max_workers(self, limit: int) -> None:
        vars(self)["_max_workers"] = limit
        if self._engine is not None:
            self._engine.resize(max(limit, 0))

    _threads: Any = _Replaceable()
    _work_queue: Any = _Replaceable()

    def _drop_engine(self) -> None:
        """Leave it to the standard machinery from now on; what is queued is still done."""
        self._former_engine, self._engine = self._engine, None  # Kept: another thread may be in submit().
        self.drop_engine()
        if isinstance(vars(self).get("_work_queue"), WorkQueue):
            vars(self)["_work_queue"] = SimpleQueue()
            self._idle_semaphore = threading.Semaphore(0)

    def _step_back(self, why: str) -> Any:
        """Have the standard machinery serve what comes from now on, and say so; return its queue."""
        if self._engine is not None:
            self._drop_engine()
            decide(self, "thread", self._max_workers, why)
        return vars(self)["_work_queue"]

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, which refuses what is in it as it refuses what is in a standard pool."""
        return vars(self) | {"_work_queue": SimpleQueue()}

    # ---- Without an engine: the standard machinery ----

    def _adjust_thread_count(self) -> None:
        of = _native if self._engine is not None else _standard
        of.ThreadPoolExecutor._adjust_thread_count(self)

    def _initializer_failed(self) -> None:
        of = _native if self._engine is not None else _standard
        of.ThreadPoolExecutor._initializer_failed(self)

    @passing_for(_standard.ThreadPoolExecutor.shutdown)
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        of = _native if self._engine is not None else _standard
        of.ThreadPoolExecutor.shutdown(self, wait, cancel_futures=cancel_futures)

    @passing_for(_standard.ThreadPoolExecutor.map)
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        of: Any = _native if self._engine is not None else _standard
        results: Iterator[T] = of.ThreadPoolExecutor.map(
            self, fn, *iterables, timeout=timeout, chunksize=chunksize, **more
        )
        return results

    def _statistics(self) -> dict[str, Any]:
        return {} if self._engine is None else super()._statistics()

    def _watch(self, bell: int) -> None:
        if self._engine is not None:
            super()._watch(bell)
