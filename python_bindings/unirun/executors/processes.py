"""`ProcessPoolExecutor`: the standard class on a native engine.

Calls and results travel through rings in shared memory, large buffers in files in memory that the
other side maps. Beyond the standard class a pool can outlive a crash (``on_worker_crash="replace"``)
and end a call that takes too long (``task_timeout``, `ProcessPoolExecutor.schedule`).

Units: every timeout is in seconds (float). Errors: those of the standard class, `WorkerCrashed` and
`TaskTimeout`. Source: python_bindings/pools/process_engine.cpp; processes are started here.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import time
import warnings
import weakref
from concurrent.futures import _base
from itertools import islice, repeat
from multiprocessing.context import BaseContext
from traceback import format_exception
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from unirun import _pools
from unirun._standard import standard
from unirun._warn import warn_caller
from unirun.errors import TaskTimeout, WorkerCrashed
from unirun.executors import by_value, process_worker
from unirun.executors.counting import Tally
from unirun.executors.pending_calls import PendingCalls
from unirun.executors.process_worker import Channel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import process as _process
else:
    _process = standard("concurrent.futures.process")

__all__ = ["ProcessPoolExecutor"]

T = TypeVar("T")

BrokenProcessPool = _process.BrokenProcessPool
process: Any = _process  # With what it keeps to itself.
CRASH_CHOICES = ("break", "replace")

_crews: weakref.WeakSet[_Crew] = weakref.WeakSet()


def _forget_crews() -> None:
    """In a forked child: the pools are the parent's."""
    for crew in list(_crews):
        crew.engine.after_fork()


os.register_at_fork(after_in_child=_forget_crews)


class ProcessPoolExecutor(_pools.NativeProcessPool, _process.ProcessPoolExecutor):
    """A `concurrent.futures.ProcessPoolExecutor` whose calls cost a tenth.

    The first six arguments are the standard ones. Without ``mp_context`` workers are forked where
    this process has one thread only and no worker is ever replaced, else they come from
    multiprocessing's fork server; a start method that the program has set is kept. With
    ``max_tasks_per_child``, a context that is not multiprocessing's, or where the native engine
    cannot start (no memory to share, no descriptors; a `RuntimeWarning` says so), the standard
    machinery serves the pool.

    ``on_worker_crash``: "break" fails every call with `BrokenProcessPool` when a worker dies, as
    the standard class; "replace" fails the call that it was making with `WorkerCrashed`, starts
    another worker and goes on, unless there are more than ``max_restarts`` within
    ``restart_period`` seconds: then the pool breaks.
    ``task_timeout``: seconds that a call may take in its worker; after that it fails with
    `TaskTimeout`, and its worker is ended and replaced.
    ``pickler``: "pickle", or "cloudpickle", which sends lambdas and local functions by value.
    """

    _why_standard: str | None = None  # Where the engine could not start at the first call.
    _on_hand_over: Callable[[str], object] | None = None
    _pickler = "pickle"
    _max_workers: int
    _mp_context: BaseContext
    _crew: _Crew
    _processes: Any
    _pending_work_items: Any

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        on_worker_crash: Literal["break", "replace"] = "break",
        task_timeout: float | None = None,
        pickler: Literal["pickle", "cloudpickle"] = "pickle",
        max_restarts: int = 10,
        restart_period: float = 60.0,
    ) -> None:
        if on_worker_crash not in CRASH_CHOICES:
            raise ValueError(f"on_worker_crash must be one of {', '.join(CRASH_CHOICES)}, not {on_worker_crash!r}")
        if max_restarts < 0 or not restart_period > 0:
            raise ValueError(
                "max_restarts must be 0 or more and restart_period a number of seconds above 0, "
                f"not {max_restarts!r} and {restart_period!r}"
            )
        self._pickler_maker = process_worker.pickler_maker(pickler)
        self._pickler = pickler
        self._needs_engine = on_worker_crash != "break" or task_timeout is not None
        if _is_foreign(mp_context) or max_tasks_per_child is not None:
            if self._needs_engine:
                raise ValueError(
                    "on_worker_crash and task_timeout need the native engine, which serves neither "
                    "max_tasks_per_child nor a context that is not multiprocessing's"
                )
            super().__init__(max_workers, mp_context, initializer, initargs, max_tasks_per_child=max_tasks_per_child)
            self._tally = Tally(self._max_workers)
            if _is_foreign(mp_context):
                warnings.warn(
                    "ProcessPoolExecutor downgraded to stdlib behaviour: mp_context is not one of multiprocessing's",
                    RuntimeWarning,
                    stacklevel=2,
                )
            return
        if max_workers is None:
            self._max_workers = getattr(os, "process_cpu_count", os.cpu_count)() or 1
        elif max_workers <= 0:
            raise ValueError("max_workers must be greater than 0")
        else:
            self._max_workers = max_workers
        if initializer is not None and not callable(initializer):
            raise TypeError("initializer must be a callable")
        self._mp_context = mp_context or _default_context(replaces=on_worker_crash == "replace" or bool(task_timeout))
        self._safe_to_dynamically_spawn_children = self._mp_context.get_start_method(allow_none=False) != "fork"
        self._initializer = initializer  # type: ignore[assignment]
        self._initargs = initargs
        self._max_tasks_per_child = None
        self._executor_manager_thread: Any = None
        self._shutdown_thread = False
        self._shutdown_lock: Any = threading.RLock()  # To pickle a call may mean to submit another.
        self._broken: Any = False
        self._cancel_pending_futures = False
        self._force_shutting_down = False
        self._call_queue: Any = _NoQueue()
        self._result_queue: Any = None
        self._task_timeout = task_timeout
        self._max_restarts, self._restart_period = max_restarts, restart_period
        self._restart_limit: str | None = None  # None: a worker that dies breaks the pool.
        if on_worker_crash == "replace":
            self._restart_limit = (
                f"its workers have died more than {max_restarts} times within {restart_period:g} seconds"
            )
        self._open_engine()

    def schedule(
        self,
        fn: Callable[..., T],
        args: Iterable[Any] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
    ) -> _base.Future[T]:
        """``submit(fn, *args, **kwargs)``, with a limit of ``timeout`` seconds once it runs.

        A call over its time fails with `TaskTimeout`; its worker is ended and replaced.
        None: the pool's ``task_timeout``.
        """
        return self._submit_with_care(fn, tuple(args), kwargs, timeout)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **more: Any,
    ) -> Iterator[T]:
        """Yield ``fn(*each)`` for each of ``zip(*iterables)``, in order, ``chunksize`` calls at a time.

        See `concurrent.futures.ProcessPoolExecutor.map`. ``timeout`` in seconds counts from now, for all of them.
        """
        if self._engine is None or chunksize < 1:  # What is wrong with it, the standard class says.
            return super().map(fn, *iterables, timeout=timeout, chunksize=chunksize, **more)
        if chunksize == 1:
            return _base.Executor.map(self, fn, *iterables, timeout=timeout, **more)
        # By position, not as a partial(): then its parts are named or written as those of any call.
        chunks = _chunks(zip(*iterables, strict=False), chunksize)
        results = _base.Executor.map(self, process._process_chunk, repeat(fn), chunks, timeout=timeout, **more)
        joined: Iterator[T] = process._chain_from_iterable_of_lists(results)
        return joined

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        engine = self._engine
        if engine is None:
            super().shutdown(wait, cancel_futures=cancel_futures)
            return
        with self._shutdown_lock:
            self._cancel_pending_futures = cancel_futures
            self._shutdown_thread = True
            engine.is_open = False
            manager = self._executor_manager_thread
            if manager is None and self._processes is not None and not self._processes:
                engine.close()  # It never started.
            else:
                engine.call_for_attention()
        if manager is not None and wait:
            manager.join()
        self._executor_manager_thread = None
        self._call_queue = None
        self._processes = None

    shutdown.__doc__ = _base.Executor.shutdown.__doc__

    def _open_engine(self) -> None:
        engine = _pools.ProcessEngine(*self._pickler_maker, pickle.loads, _refuse_pickle)
        engine.default_timeout = self._task_timeout
        engine.set_restart_limits(self._max_restarts, self._restart_period)
        crew = _Crew(engine, self._mp_context, self._initializer, self._initargs, self._pickler, self._max_workers)
        crew.keeps_stacks = self._restart_limit is not None
        _crews.add(crew)
        self._crew, self._processes = crew, crew.processes
        self._pending_work_items = PendingCalls(engine)
        self._engine = engine

    # ---- What the native submit() leaves to Python ----

    def _submit_with_care(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any] | None, timeout: float | None = None
    ) -> _base.Future[T]:
        future: _base.Future[T] | None = None
        while (engine := self._engine) is not None and future is None:  # None where it was closed meanwhile.
            with self._shutdown_lock:
                if self._engine is not engine:
                    continue
                self._refuse_if_closed()
                if self._executor_manager_thread is None:
                    future = self._start(engine, fn, args, kwargs, timeout)
                    continue
                self._adjust_process_count()
            future = engine.schedule(fn, args, kwargs, timeout)
        return future or self._submit_to_standard(fn, args, kwargs or {}, timeout)

    def _submit_to_standard(
        self, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any], timeout: float | None
    ) -> _base.Future[T]:
        if timeout is not None:
            raise ValueError("timeout needs the native engine; the standard machinery serves this pool")
        if self._pickler != "pickle":
            fn, args, kwargs = by_value.call, (by_value.packed(fn, args, kwargs),), {}
        now = time.monotonic()
        future: _base.Future[T] = super(_pools.NativeProcessPool, self).submit(fn, *args, **kwargs)
        self._counts.take(future, now)
        return future

    def _start(self, engine: _pools.ProcessEngine, *call: Any) -> Any:
        """The first call is there before the first worker, which makes it while the next one starts.

        None: the native engine could not start, and the standard machinery takes its place.
        """
        engine.is_open = engine.may_grow = True  # Who submits meanwhile waits for the lock.
        try:
            future = engine.schedule(*call)
            self._start_executor_manager_thread()
        except BaseException as error:
            engine.is_open = False
            for orphan in engine.abandon():
                engine.fail(orphan, BrokenProcessPool(f"The process pool could not be started: {error!r}"))
            if isinstance(error, _EngineCannotStart):
                self._hand_over(error.reason)
                return None
            self._crew.end()
            engine.close()
            self._open_engine()  # To try again is not in vain.
            raise
        self._on_hand_over = None
        return future

    def _when_handed_over(self, tell: Callable[[str], object]) -> None:
        """Call ``tell`` with the reason if the engine cannot start at the first call, in the thread of that."""
        if self._executor_manager_thread is None:
            self._on_hand_over = tell

    def _hand_over(self, reason: OSError) -> None:
        """Have the standard machinery serve this pool from now on. Raises ``reason`` where it cannot."""
        if self._needs_engine:
            reason.add_note("on_worker_crash and task_timeout need the native process engine, which cannot start")
            raise reason from None
        try:
            _start_threads(2)  # As many as it needs; it would wait for ever for one that does not come.
            other = _process.ProcessPoolExecutor(self._max_workers, self._mp_context, self._initializer, self._initargs)
        except (OSError, RuntimeError):  # Nor can that.
            raise reason from None
        self._crew.end()
        engine = self._engine
        with other._shutdown_lock:  # Whoever comes meanwhile waits.
            self.__dict__.update(vars(other))
            self._engine = None
        if engine is not None:
            engine.close()
        self._why_standard = why = f"the native process engine cannot start: {reason!r}"
        if self._on_hand_over is not None:
            self._on_hand_over(why)
            self._on_hand_over = None
        self._tell_hand_over(why)

    def _tell_hand_over(self, why: str) -> None:
        warn_caller(f"{why}; the standard library's machinery serves this pool")

    def _refuse_if_closed(self) -> None:
        if self._broken:
            raise BrokenProcessPool(self._broken)
        if self._shutdown_thread:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if process._global_shutdown:
            raise RuntimeError("cannot schedule new futures after interpreter shutdown")

    def _start_executor_manager_thread(self) -> None:
        if self._engine is None:
            super()._start_executor_manager_thread()
            return
        if self._executor_manager_thread is not None:
            return
        self._crew.start_worker()
        os.sched_yield()  # On one CPU it begins now, not after the others were forked.
        if not self._safe_to_dynamically_spawn_children:  # No fork once there is a second thread.
            try:
                while len(self._crew.processes) < self._max_workers:
                    self._crew.start_worker()
            except OSError:
                pass  # One more cannot be had; there are others.
        self._engine.may_grow = self._can_grow()
        manager = _Manager(self)
        manager.start()
        self._executor_manager_thread = manager
        process._threads_wakeups[manager] = _Wakeup(self._engine)
        try:
            manager.watch.start()
        except RuntimeError as error:
            manager.break_pool(cause="".join(format_exception(error)))

    def _can_grow(self) -> bool:
        return self._safe_to_dynamically_spawn_children and len(self._crew.processes) < self._max_workers

    def _adjust_process_count(self) -> None:
        engine = self._engine
        if engine is None:
            super()._adjust_process_count()
            return
        if engine.may_grow and not engine.take_idle_token() and not self._force_shutting_down:
            try:
                self._crew.start_worker()
            except OSError:
                if not self._crew.processes:
                    raise
            engine.may_grow = self._can_grow()

    @property
    def _counts(self) -> Tally:
        """Of the calls that the standard machinery serves; its constructor knows nothing of them."""
        made: Tally = vars(self).setdefault("_tally", Tally(self._max_workers))
        return made

    def _statistics(self) -> dict[str, Any]:
        """What `Run.metrics` and a service's figures are made of."""
        if self._engine is None:
            return self._counts._statistics()
        return self._engine.statistics(len(self._processes or ()))

    def _watch(self, bell: int) -> None:
        """Write to the eventfd ``bell`` once, when the statistics change from now on; -1: to none. Thread: any."""
        if self._engine is None:
            self._counts._watch(bell)
        else:
            self._engine.watch(bell)


def _chunks(calls: Iterable[T], size: int) -> Iterator[tuple[T, ...]]:
    calls = iter(calls)
    while chunk := tuple(islice(calls, size)):
        yield chunk


def _is_foreign(context: object) -> bool:
    return context is not None and not isinstance(context, BaseContext)


def _default_context(*, replaces: bool) -> BaseContext:
    """Fork where that is safe: nobody else can hold a lock in the moment of a fork."""
    standard = multiprocessing.get_all_start_methods()[0]
    chosen = multiprocessing.get_start_method(allow_none=True) or standard
    if chosen != "fork" or standard != "fork":
        return multiprocessing.get_context(chosen)
    return multiprocessing.get_context("fork" if not replaces and _is_alone() else "forkserver")


def _preload_fork_server() -> None:
    """Have the fork server import what every worker needs, once: half of a worker's start. No use once it runs."""
    from multiprocessing import forkserver

    modules: list[str] = forkserver._forkserver._preload_modules  # type: ignore[attr-defined]
    if process_worker.__name__ not in modules:
        multiprocessing.set_forkserver_preload([*modules, process_worker.__name__])


def _is_alone() -> bool:
    """Whether this process has one thread. One that was joined a moment ago may still be leaving."""
    if threading.active_count() > 1:
        return False
    for _ in range(3):
        if len(os.listdir("/proc/self/task")) == 1:
            return True
        time.sleep(0.0005)
    return False


def _start_threads(count: int) -> None:
    """Have so many threads at a time for a moment. Raises `RuntimeError` where there cannot be so many."""
    may_end = threading.Event()
    threads = [threading.Thread(target=may_end.wait) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
    finally:
        may_end.set()
        for thread in threads:
            if thread.ident is not None:
                thread.join()


def _refuse_pickle(raised: BaseException) -> BaseException:
    """The exception of a call that cannot be sent, as the standard class gives it."""
    text = "".join(format_exception(raised))
    raised.__cause__ = process._RemoteTraceback(f'\n"""\n{text}"""')
    return raised


class _NoQueue:
    """In the place of the standard class's call queue: there is no feeder thread to join."""

    def close(self) -> None: ...

    def join_thread(self) -> None: ...


class _Wakeup:
    """How the exit hook of concurrent.futures reaches the manager."""

    def __init__(self, engine: _pools.ProcessEngine) -> None:
        self._engine = engine

    def wakeup(self) -> None:
        self._engine.is_open = False
        self._engine.call_for_attention()


class _EngineCannotStart(OSError):
    """There is no memory to share with a worker, or there are no descriptors for it."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(*reason.args)
        self.reason = reason


class _Crew:
    """The worker processes of one pool: how they are made, and which there are."""

    def __init__(
        self,
        engine: _pools.ProcessEngine,
        context: BaseContext,
        initializer: Callable[..., object] | None,
        initargs: tuple[Any, ...],
        pickler: str,
        max_workers: int,
    ) -> None:
        self.processes: dict[int, Any] = {}
        self.keeps_stacks = False
        self.engine = engine
        self.is_over = False
        self.max_workers = max_workers
        self._context: Any = context
        self._initializer = initializer
        self._initargs = initargs
        self._pickler = pickler
        self._by_number: dict[int, Any] = {}
        self._stacks: dict[int, int] = {}

    def replace_worker(self) -> None:
        """Start one in the place of one that is gone, from a program that has threads by now.

        A fork would copy the locks that they hold: replacements of forked workers come from the fork server.
        """
        if self.is_over or len(self.processes) >= self.max_workers:
            return  # Or a call that came meanwhile has started it.
        if self._context.get_start_method() == "fork":
            self._context = multiprocessing.get_context("forkserver")
        self.start_worker()

    def start_worker(self) -> None:
        try:
            number, *descriptors = self.engine.open_worker()
        except OSError as error:
            raise _EngineCannotStart(error) from error
        if self.keeps_stacks:
            descriptors.append(os.memfd_create("unirun-stacks"))
        channel = Channel(*descriptors)
        if self._context.get_start_method() == "forkserver":
            _preload_fork_server()
        worker = self._context.Process(
            target=process_worker.main,
            args=(channel, self._initializer, self._initargs, self._pickler),
        )
        try:
            worker.start()
            if self.keeps_stacks:
                self._stacks[number] = os.dup(descriptors[-1])
        except BaseException:
            self.engine.bury(number)
            raise
        finally:
            channel.close()
        self.processes[worker.pid] = worker
        self._by_number[number] = worker
        self.engine.attach(number, worker.sentinel)

    def bury(self, number: int) -> tuple[Any, _Call | None, str]:
        """A worker that is dead or dying: its process, the call that it was making, its stacks."""
        worker = self._by_number.pop(number)
        self.processes.pop(worker.pid, None)
        worker.join()
        call = self.engine.bury(number)
        stacks = ""
        if number in self._stacks:
            with os.fdopen(self._stacks.pop(number), "rb") as file:
                file.seek(0)
                stacks = file.read().decode(errors="replace")
        return worker, call and _Call(*call), stacks

    def kill(self, number: int) -> None:
        self._by_number[number].kill()

    def end(self, *, orderly: bool = False) -> None:
        """All of them, at once or after what they are doing."""
        self.is_over = True
        self.engine.stop_watching()
        if orderly:
            self.engine.stop_workers()
        for worker in list(self.processes.values()):  # Somebody may be burying one.
            if not orderly:
                worker.terminate()
            worker.join()
        for descriptor in self._stacks.values():
            os.close(descriptor)
        self._stacks.clear()


class _Call(NamedTuple):
    """What a worker was doing when it went."""

    future: _base.Future[Any]
    callable: Callable[..., Any]
    arguments: tuple[Any, ...]
    timeout: float

    @property
    def name(self) -> str:
        """Of the function, as one would import it."""
        function: Any = self.callable
        if function is process._process_chunk:  # Of a map().
            function = self.arguments[0]
        return f"{getattr(function, '__module__', None)}.{getattr(function, '__qualname__', repr(function))}"


class _Manager(threading.Thread):
    """Runs callbacks, and ends the pool. Whether it is broken others say, too."""

    def __init__(self, executor: ProcessPoolExecutor) -> None:
        super().__init__()
        engine = executor._engine
        assert engine is not None

        def forgotten(_: object) -> None:
            engine.is_open = False
            engine.call_for_attention()

        self.engine = engine
        self.executor = weakref.ref(executor, forgotten)
        self.lock = executor._shutdown_lock
        self.crew = executor._crew
        self.watch = _Watch(self, executor._restart_limit)
        self._is_broken = False

    def run(self) -> None:
        while True:
            self.engine.serve()
            if self.engine.damage is not None and not self._is_broken:
                self.break_pool(cause="".join(format_exception(self.engine.damage)))
            if self.is_over() and self.engine.pending == 0:
                break
        with self.lock:
            self.crew.end(orderly=not self._is_broken)
        if self.watch.ident is not None:
            self.watch.join()
        del self.watch  # It knows us: without that, the processes would wait for the garbage collector.
        self.engine.close()

    def is_over(self) -> bool:
        executor = self.executor()
        if executor is not None and not executor._shutdown_thread and not process._global_shutdown:
            return False
        self.engine.is_open = False
        if executor is not None:
            executor._shutdown_thread = True
            if executor._cancel_pending_futures:
                self.engine.cancel_queued()
                executor._cancel_pending_futures = False
        return True

    def break_pool(
        self,
        crashed: _base.Future[Any] | None = None,
        *,
        cause: str | None = None,
        message: str = "A process in the process pool was terminated abruptly while the future was running or pending.",
        says: str = "A child process terminated abruptly, the process pool is not usable anymore",
    ) -> None:
        """The pool is of no more use: every future fails with ``message``, every call from now on with ``says``."""
        with self.lock:
            self._is_broken = True
            executor = self.executor()
            if executor is not None:
                executor._broken = says
                executor._shutdown_thread = True
                del executor
            self.engine.is_open = False
            futures = ([] if crashed is None else [crashed]) + self.engine.abandon()
        for future in futures:
            error = BrokenProcessPool(message)
            if cause is not None:
                error.__cause__ = process._RemoteTraceback(f"\n'''\n{cause}'''")
            self.engine.fail(future, error)
        self.engine.call_for_attention()


class _Watch(threading.Thread):
    """Sees workers die and calls that are over their time, and replaces workers.

    A thread of its own: a callback, which the manager runs, may take its time.
    """

    def __init__(self, manager: _Manager, limit: str | None) -> None:
        super().__init__(name="unirun-pool-watch")
        self._engine = manager.engine
        self._crew = manager.crew
        self._manager = manager
        self._limit = limit

    def run(self) -> None:
        try:
            self._watch()
        except BaseException as error:  # Never silently: nobody else would see a worker die.
            self._manager.break_pool(cause="".join(format_exception(error)))

    def _watch(self) -> None:
        while True:
            what, numbers = self._engine.watch_workers()
            if what == "ended":
                return
            for number in numbers:
                (self._mourn if what == "died" else self._end_overdue)(number)
            self._engine.call_for_attention()  # What the dead had not begun is for others; or nothing is left.

    def _mourn(self, number: int) -> None:
        """A worker has ended by itself."""
        executor = self._manager.executor()
        forced = executor is not None and executor._force_shutting_down
        del executor
        worker, call, stacks = self._crew.bury(number)
        if self._limit is None or forced:
            self._manager.break_pool(call and call.future)
            return
        reason = _describe_exit(worker.exitcode)
        if not self._engine.tolerates_restart():
            given_up = f"The process pool has given up: {self._limit}; the last one {reason}."
            self._manager.break_pool(message=given_up, says=given_up)
        else:
            self._replace()
        if call is not None:
            text = f"the worker process {worker.pid} {reason} while it called {call.name}"
            self._engine.fail(call.future, WorkerCrashed(text, exitcode=worker.exitcode, stacks=stacks))

    def _end_overdue(self, number: int) -> None:
        self._crew.kill(number)
        worker, call, _ = self._crew.bury(number)
        if call is not None:
            text = f"{call.name} took longer than {call.timeout:g} s; its worker process {worker.pid} was ended"
            self._engine.fail(call.future, TaskTimeout(text))
        self._replace()

    def _replace(self) -> None:
        """Start a worker in the place of one that is gone, unless there is nothing left to do."""
        if self._manager.is_over() and self._engine.pending == 0:
            return
        try:
            with self._manager.lock:
                self._crew.replace_worker()
        except Exception as error:
            if self._crew.processes:
                return  # The others go on.
            self._manager.break_pool(
                message="A replacement worker process could not be started, leaving the pool without workers "
                "to run the remaining work.",
                cause="".join(format_exception(error)),
            )


def _describe_exit(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        try:
            return f"was ended by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"was ended by signal {-exitcode}"
    return f"ended with exit code {exitcode}"
