"""The managed `ProcessPoolExecutor`: the native engine, with the standard class's constructor, sizes and contexts."""

from __future__ import annotations

import multiprocessing
import threading
from multiprocessing.context import BaseContext
from typing import TYPE_CHECKING, Any, TypeVar

from unirun._standard import standard
from unirun.compat.pools import NEEDS_STANDARD, StandIn, decide, passing_for, replaced_in, wants_standard
from unirun.executors import processes as _native
from unirun.executors.pools import CANNOT_START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import process as _standard
else:
    _standard = standard("concurrent.futures.process")

__all__ = ["ProcessPoolExecutor"]

T = TypeVar("T")

_UNUSED = ("_WorkItem.__init__", "_CallItem.__init__", "_process_worker")  # What the engine does not call.


class ProcessPoolExecutor(_native.ProcessPoolExecutor, metaclass=StandIn):
    """`concurrent.futures.ProcessPoolExecutor` on the native engine, under any context of `multiprocessing`.

    With ``initializer``, with a context of another kind, and where the engine cannot start, the standard machinery
    serves it, with a `RuntimeWarning`. With ``max_tasks_per_child`` it does so as well, and there is nothing to say.
    """

    __module__ = _standard.__name__
    __stands_for__ = _standard.ProcessPoolExecutor

    @passing_for(_standard.ProcessPoolExecutor.__init__)
    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
    ) -> None:
        why = NEEDS_STANDARD if initializer is not None else _about(mp_context) or replaced_in(_standard, _UNUSED)
        expected = "max_tasks_per_child" if max_tasks_per_child is not None else ""
        if not expected and wants_standard():
            expected = "as configured"
        if not (why or expected):
            try:  # The default context, whatever it is: the program may count on fork.
                super().__init__(max_workers, mp_context or multiprocessing.get_context())
            except CANNOT_START as error:
                why = f"the native process engine cannot start: {error!r}"
        if why or expected:
            _standard.ProcessPoolExecutor.__init__(
                self, max_workers, mp_context, initializer, initargs, max_tasks_per_child=max_tasks_per_child
            )
        decide(self, "process", max_workers, why or expected, expected=not why)

    # ---- What programs reach into ----

    @property
    def _max_workers(self) -> int:
        limit: int = vars(self)["_max_workers"]
        return limit

    @_max_workers.setter
    def _max_workers(self, limit: int) -> None:
        vars(self)["_max_workers"] = limit
        if self._engine is not None:
            self._crew.max_workers = limit
            self._engine.may_grow = self._executor_manager_thread is not None and self._can_grow()

    def __getstate__(self) -> dict[str, Any]:
        """For pickle, which refuses what is in it as it refuses what is in a standard pool."""
        lock = threading.Lock()  # What is met first: a running manager has one before all else.
        manager = self._executor_manager_thread and lock
        state = vars(self) | {"_executor_manager_thread": manager, "_shutdown_lock": lock}
        state.pop("_pickler_maker", None)
        return state

    def _tell_hand_over(self, why: str) -> None:
        decide(self, "process", self._max_workers, why)

    @passing_for(_standard.ProcessPoolExecutor.map)
    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, **more)

    @passing_for(_standard.ProcessPoolExecutor.shutdown)
    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)


def _about(context: object) -> str:
    if context is None or isinstance(context, BaseContext):
        return ""
    return "mp_context is not one of multiprocessing's"
