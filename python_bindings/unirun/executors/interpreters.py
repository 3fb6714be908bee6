"""`InterpreterPoolExecutor`: the standard class on a native engine, each worker an interpreter with its own GIL.

The class derives from `concurrent.futures.InterpreterPoolExecutor`, which Python has from 3.14 on. On 3.12 and
3.13 it derives from `ThreadPoolExecutor` and needs ``allow_unsafe=True``. Elsewhere the name raises `ImportError`.
"""

from __future__ import annotations

import importlib
import itertools
import math
import sys
import sysconfig
import threading
import weakref
from concurrent.futures import _base, thread
from typing import TYPE_CHECKING, Any, Literal

from unirun import _pools
from unirun.executors import futures as _futures  # noqa: F401  The engine makes its futures.

WHY_BROKEN = "A thread initializer failed, the thread pool is not usable anymore"
STABLE = sys.version_info >= (3, 14)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from unirun._pools import InterpreterEngine

# On free-threaded builds interpreters are many times slower than threads, and save nothing.
if sys.version_info >= (3, 12) and not sysconfig.get_config_var("Py_GIL_DISABLED"):
    from unirun.executors._crossing import BrokenInterpreterPool, Context, Errors, Standard

    class InterpreterPoolExecutor(_pools.NativeInterpreterPool, Standard):
        """Calls functions in interpreters of this process, each with its own GIL: as `ProcessPoolExecutor`, in threads.

        Args:
            max_workers: How many interpreters at most; default: as the standard class has it.
            thread_name_prefix: What the names of the threads begin with.
            initializer: Called in each interpreter before its first task; if it raises, the pool is broken.
            initargs: Its arguments.
            imports: ``"isolated"``: each interpreter imports what its tasks need, when they need it.
                ``"shared"``: each imports ``modules`` before its first task, so that no task pays for it.
            modules: The names of modules, for ``imports="shared"``.
            allow_unsafe: Below Python 3.14 interpreters with their own GIL may corrupt the memory of the process,
                with ordinary modules of the standard library. Says that this is acceptable.

        Thread: any. Raises `ValueError` for a size below one and for ``imports`` and ``modules`` that do not fit,
        `RuntimeError` below Python 3.14 without consent.

        """

        BROKEN = BrokenInterpreterPool
        _engine: InterpreterEngine
        _threads: set[threading.Thread]
        _broken: str | bool  # type: ignore[assignment]
        _counter = itertools.count().__next__

        def __init__(
            self,
            max_workers: int | None = None,
            thread_name_prefix: str = "",
            initializer: Callable[..., object] | None = None,
            initargs: tuple[Any, ...] = (),
            *,
            imports: Literal["isolated", "shared"] = "isolated",
            modules: Sequence[str] = (),
            allow_unsafe: bool = False,
        ) -> None:
            _check_consent(allow_unsafe)
            self._modules = _checked_modules(imports, modules)
            prefix = thread_name_prefix or f"InterpreterPoolExecutor-{self._counter()}"
            if isinstance(initializer, str):
                raise TypeError("scripts not supported")
            super().__init__(max_workers, prefix, initializer, initargs)
            self._initialize = (initializer, initargs)
            self._numbers = itertools.count()
            self._engine = self.open_engine(math.ceil(self._max_workers), Errors)
            self._work_queue = self._engine  # type: ignore[assignment]
            self._guard: threading.Thread | None = None
            self._chunks = _Chunks(weakref.ref(self))

        def map(
            self,
            fn: Callable[..., Any],
            *iterables: Iterable[Any],
            timeout: float | None = None,
            chunksize: int = 1,
            **more: Any,
        ) -> Iterator[Any]:
            """As `Executor.map`; with ``chunksize`` above 1 the calls travel and run in chunks of that size."""
            if chunksize <= 1 or type(self).submit is not InterpreterPoolExecutor.submit or "submit" in self.__dict__:
                return super().map(fn, *iterables, timeout=timeout, **more)
            chunks = _batched(zip(*iterables, strict=False), chunksize)
            results: Iterator[list[Any]] = _base.Executor.map(self._chunks, fn, chunks, timeout=timeout, **more)  # type: ignore[arg-type]
            return _one_by_one(results)

        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            """As the standard class: no more tasks; what is queued is done, or cancelled with ``cancel_futures``."""
            with self._shutdown_lock:
                self._shutdown = True
                cancelled = self._engine.take() if cancel_futures else []
                self._engine.close()
            for future in cancelled:
                future.cancel()
            if wait:
                for worker in self._threads:
                    worker.join()
                if self._guard is not None:
                    self._guard.join()

        def _statistics(self) -> dict[str, Any]:
            """What the engine counted: see docs/pools.md."""
            return self._engine.statistics()

        def _watch(self, bell: int) -> None:
            """Write to the eventfd ``bell`` once, when the statistics change from now on; -1: to none."""
            self._engine.watch(bell)

        # ---- What the engine asks for ----

        def _adjust_thread_count(self) -> None:
            """Start the thread that the engine wants."""
            with self._shutdown_lock, thread._global_shutdown_lock:
                if self._shutdown or thread._shutdown:
                    self._engine.leave()
                    self._refuse()
                arguments = (weakref.ref(self), self._engine, self._modules, *self._initialize)
                name = f"{self._thread_name_prefix}_{next(self._numbers)}"
                worker = threading.Thread(name=name, target=_work, args=arguments)
                self._threads.add(worker)
                thread._threads_queues[worker] = self._engine  # type: ignore[index]
                try:
                    worker.start()
                except RuntimeError:  # There can be no more of them.
                    self._threads.discard(worker)
                    del thread._threads_queues[worker]  # type: ignore[attr-defined]
                    self._engine.leave()
                    raise
                if self._guard is None:
                    self._start_guard()

        def _start_guard(self) -> None:
            name = f"{self._thread_name_prefix}_guard"
            self._guard = threading.Thread(name=name, target=self._engine.guard)
            thread._threads_queues[self._guard] = self._engine  # type: ignore[index]
            try:
                self._guard.start()
            except RuntimeError:  # The workers do what it would.
                del thread._threads_queues[self._guard]  # type: ignore[attr-defined]
                self._guard = None
                self._engine.unguarded()

        def _refuse(self) -> None:
            """Raise what the standard class raises where no task is taken any more."""
            if self._broken:
                raise self.BROKEN(self._broken)
            if self._shutdown:
                raise RuntimeError("cannot schedule new futures after shutdown")
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

        def _initializer_failed(self) -> None:
            with self._shutdown_lock:
                self._broken = WHY_BROKEN

    class _Chunks:
        """What `Executor.map` takes for an executor where the calls go in chunks."""

        def __init__(self, pool: weakref.ref[InterpreterPoolExecutor]) -> None:
            self._pool = pool

        def submit(self, fn: Callable[..., Any], chunk: tuple[tuple[Any, ...], ...]) -> Future[list[Any]]:
            pool = self._pool()
            if pool is None:
                raise RuntimeError("cannot schedule new futures after shutdown")
            future: Future[list[Any]] = pool.submit_chunk(fn, *chunk)
            return future

    def _work(
        reference: weakref.ref[InterpreterPoolExecutor],
        engine: InterpreterEngine,
        modules: tuple[str, ...],
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
    ) -> None:
        """What a thread of the pool does."""
        worker = None
        try:
            worker = engine.enter()
            worker.use(Context(worker.id))
            for name in modules:
                worker.call(importlib.import_module, name).result()
            if initializer is not None:
                worker.call(initializer, *initargs).result()
        except BaseException:
            _base.LOGGER.critical("Exception in initializer:", exc_info=True)
            _break(reference(), engine)
            if worker is not None:
                worker.close()
            return
        del initializer, initargs
        try:
            worker.run()
        finally:
            worker.close()

    def _break(pool: InterpreterPoolExecutor | None, engine: InterpreterEngine) -> None:
        if pool is not None:
            pool._initializer_failed()
        engine.close()
        engine.leave()
        for future in engine.take():
            if future.set_running_or_notify_cancel():
                future.set_exception(BrokenInterpreterPool(WHY_BROKEN))

    def consented_pool(
        max_workers: int | None = None, thread_name_prefix: str = "", modules: Sequence[str] | None = None
    ) -> InterpreterPoolExecutor:
        """A pool for the scheduler, which has asked for consent and warned where that is needed."""
        return InterpreterPoolExecutor(
            max_workers,
            thread_name_prefix,
            imports="shared" if modules else "isolated",
            modules=modules or (),
            allow_unsafe=True,
        )

    def _check_consent(allow_unsafe: bool) -> None:
        if STABLE or allow_unsafe:
            return
        version = ".".join(map(str, sys.version_info[:3]))
        raise RuntimeError(
            f"on Python {version} interpreters with their own GIL may corrupt the memory of the process:"
            " use Python 3.14, or accept it with allow_unsafe=True"
        )

    def _checked_modules(imports: str, modules: Sequence[str]) -> tuple[str, ...]:
        if imports not in ("isolated", "shared"):
            raise ValueError(f"imports={imports!r}: expected 'isolated' or 'shared'")
        if isinstance(modules, str) or not all(isinstance(name, str) for name in modules):
            raise ValueError(f"modules={modules!r}: expected a sequence of names of modules")
        if bool(modules) != (imports == "shared"):
            wanted = "needs modules, their names" if imports == "shared" else "takes no modules; say imports='shared'"
            raise ValueError(f"imports={imports!r} {wanted}")
        return tuple(modules)

    def _batched(calls: Iterable[tuple[Any, ...]], size: int) -> Iterator[tuple[tuple[Any, ...], ...]]:
        calls = iter(calls)
        while chunk := tuple(itertools.islice(calls, size)):
            yield chunk

    def _one_by_one(results: Iterator[list[Any]]) -> Iterator[Any]:
        for chunk in results:
            chunk = list(reversed(chunk))  # Nothing is kept that was given out.
            while chunk:
                yield chunk.pop()

else:

    def __getattr__(name: str) -> Any:
        if name not in ("InterpreterPoolExecutor", "consented_pool"):
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        if sys.version_info < (3, 12):
            raise ImportError(
                f"InterpreterPoolExecutor needs Python 3.14, or 3.12 by consent: this is {sys.version.split()[0]},"
                " whose interpreters share one GIL; use a thread or process pool"
            )
        raise ImportError(
            "InterpreterPoolExecutor: this Python is free-threaded, where interpreters have nothing to gain;"
            " use a thread pool, or concurrent.futures.InterpreterPoolExecutor"
        )
