"""`ThreadPoolExecutor`: the standard class, with queue, threads' loop and futures in C++."""

from __future__ import annotations

import os
import threading
import weakref
from concurrent.futures import _base
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from unirun import _pools
from unirun._standard import standard
from unirun.executors import futures as _futures  # noqa: F401  It tells _pools which class futures have.

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from concurrent.futures import thread as _standard
else:
    _standard = standard("concurrent.futures.thread")

__all__ = ["ThreadPoolExecutor"]

T = TypeVar("T")


class ThreadPoolExecutor(_pools.NativeThreadPool, _standard.ThreadPoolExecutor):
    """A `concurrent.futures.ThreadPoolExecutor` in every respect, and much faster.

    Its futures are `unirun.executors.futures.Future`, its threads `threading.Thread` objects with the
    standard names. A thread that is idle sleeps; a submission wakes one at most.

    Thread: any.
    """

    _engine: _pools.ThreadEngine
    _threads: set[threading.Thread]
    _broken: str | bool  # type: ignore[assignment]

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
    ) -> None:
        super().__init__(max_workers, thread_name_prefix, initializer, initargs)
        self._initialize = (initializer, initargs)
        self._engine = self._work_queue = self.open_engine(self._max_workers)
        self._idle_semaphore = _IdleThreads(self._engine)
        self._numbers = count()
        _open.add(self)

    def _adjust_thread_count(self) -> None:
        """Start a thread more; submit() calls it when it wants one."""
        with self._shutdown_lock, _standard._global_shutdown_lock:
            if self._shutdown or _standard._shutdown:
                self._engine.leave()
                self._refuse()
            thread = threading.Thread(
                name=f"{self._thread_name_prefix or self}_{next(self._numbers)}",
                target=_work,
                args=(weakref.ref(self), self._engine, *self._initialize),
            )
            self._threads.add(thread)
            _standard._threads_queues[thread] = self._engine  # type: ignore[index]
            try:
                thread.start()
            except RuntimeError:  # There can be no more of them. Whatever else is raised comes to a thread that lives.
                self._threads.discard(thread)
                del _standard._threads_queues[thread]  # type: ignore[attr-defined]
                self._engine.leave()
                raise

    def _submit_standard(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """submit() of a subclass that opened no engine."""
        return _standard.ThreadPoolExecutor.submit(self, fn, *args, **kwargs)

    def _refuse(self) -> None:
        """Raise what the standard class does when it takes no more work."""
        if self._broken:
            raise _standard.BrokenThreadPool(self._broken)
        if self._shutdown:
            raise RuntimeError("cannot schedule new futures after shutdown")
        raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _initializer_failed(self) -> None:
        with self._shutdown_lock:
            self._broken = "A thread initializer failed, the thread pool is not usable anymore"
            self._engine.close()
            for future in self._engine.take(lambda: _standard.BrokenThreadPool(self._broken)):
                future.set_exception(_standard.BrokenThreadPool(self._broken))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        with self._shutdown_lock:
            self._shutdown = True
            if cancel_futures:
                for future in self._engine.take(_base.CancelledError):
                    future.cancel()
            self._engine.close()
        if wait:
            for thread in self._threads:
                thread.join()

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        """Yield ``fn(*each)`` for each of ``zip(*iterables)``, in order: see `concurrent.futures.Executor.map`.

        All calls are queued at once. ``timeout`` in seconds counts from now, for all of them; `TimeoutError` then.
        """
        # buffersize, and who has a submit of their own: a subclass, or this object while somebody counts.
        if more or type(self).submit is not ThreadPoolExecutor.submit or "submit" in self.__dict__:
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, **more)
        return _results(self.submit_all(fn, zip(*iterables, strict=False), timeout))

    def _statistics(self) -> dict[str, Any]:
        """Return what the engine has counted: see docs/pools.md. Thread: any."""
        return self._engine.statistics()

    def _watch(self, bell: int) -> None:
        """Write to the eventfd ``bell`` once, when the statistics change from now on; -1: to none. Thread: any."""
        self._engine.watch(bell)


class _IdleThreads(threading.Semaphore):
    """What programs read of the standard pool: how many threads wait for work. Who counts is the engine."""

    def __init__(self, engine: _pools.ThreadEngine) -> None:
        self._engine = engine
        super().__init__(0)

    @property
    def _value(self) -> int:
        of = self._engine.statistics()
        waiting: int = of["workers"] - of["running"] - of["queued"]
        return max(0, waiting)

    @_value.setter
    def _value(self, value: int) -> None: ...


def _results(run: _pools.MapRun) -> Iterator[Any]:
    try:
        yield from run
    finally:
        run.cancel()


def _work(
    executor: weakref.ref[ThreadPoolExecutor],
    engine: _pools.ThreadEngine,
    initializer: Callable[..., object] | None,
    initargs: tuple[Any, ...],
) -> None:
    try:
        if initializer is not None:
            initializer(*initargs)
    except BaseException:
        _base.LOGGER.critical("Exception in initializer:", exc_info=True)
        engine.leave()
        if (broken := executor()) is not None:
            broken._initializer_failed()
        return
    engine.work()


_open: weakref.WeakSet[ThreadPoolExecutor] = weakref.WeakSet()


def _forget_parent() -> None:
    """In a child of fork(): threads and tasks are the parent's. A worker that forked is the only one left."""
    me = threading.current_thread()
    for executor in list(_open):
        executor._shutdown_lock = threading.Lock()
        executor._threads.intersection_update({me})
        executor._engine.forget(len(executor._threads))


os.register_at_fork(after_in_child=_forget_parent)
