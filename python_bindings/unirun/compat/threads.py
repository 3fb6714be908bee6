"""The managed `ThreadPoolExecutor`: the native engine, with the standard class's constructor, sizes and names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from unirun._standard import standard
from unirun.compat.pools import NEEDS_STANDARD, StandIn, decide, passing_for, wants_standard
from unirun.executors import threads as _native
from unirun.executors.pools import CANNOT_START

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import thread as _standard
else:
    _standard = standard("concurrent.futures.thread")

__all__ = ["ThreadPoolExecutor"]

T = TypeVar("T")


class ThreadPoolExecutor(_native.ThreadPoolExecutor, metaclass=StandIn):
    """`concurrent.futures.ThreadPoolExecutor` on the native engine.

    With ``initializer``, and where the engine cannot start, the standard machinery serves it, with a
    `RuntimeWarning`; ``UNIRUN_ENGINE=stdlib`` has it serve every pool.
    """

    __module__ = _standard.__name__
    __stands_for__ = _standard.ThreadPoolExecutor

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
        configured = wants_standard()
        if not (why or configured or context):
            try:
                super().__init__(max_workers, thread_name_prefix)
            except CANNOT_START as error:
                why = f"the native thread engine cannot start: {error!r}"
        if why or configured or context:
            self._engine = None  # type: ignore[assignment]
            _standard.ThreadPoolExecutor.__init__(
                self, max_workers, thread_name_prefix, initializer, initargs, **context
            )
        decide(self, "thread", max_workers, why or ("as configured" if configured else ""), expected=not why)

    # ---- Without an engine: the standard machinery ----

    def _adjust_thread_count(self) -> None:
        of = _native if self._engine is not None else _standard
        of.ThreadPoolExecutor._adjust_thread_count(self)

    def _initializer_failed(self) -> None:
        of = _native if self._engine is not None else _standard
        of.ThreadPoolExecutor._initializer_failed(self)

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
