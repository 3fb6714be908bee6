"""`Run`: a block with a `concurrent.futures.Executor` in it, shut down when the block ends."""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from unirun import _current_service
from unirun.config import RuntimeConfig, check
from unirun.decisions import DecisionTrace, log, reason_for, tell
from unirun.scheduler import ExecutorLease, global_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from types import TracebackType

    from unirun._current_service import Owner
    from unirun.config import Mode, OnWorkerCrash
    from unirun.executors.counting import Tally
    from unirun.metrics import Metrics
    from unirun.progress import Progress
    from unirun.scheduler import Hints

Flavor: TypeAlias = Literal["auto", "threads", "processes", "interpreters", "none"]
RunFlavor: TypeAlias = Flavor

FLAVORS: tuple[str, ...] = get_args(Flavor)
MODE_OF: dict[Flavor, Mode] = {
    "auto": "auto",
    "threads": "thread",
    "processes": "process",
    "interpreters": "subinterpreter",
    "none": "none",
}

_open_here: ContextVar[tuple[Run, ...]] = ContextVar("unirun.Run", default=())  # The innermost first.


class Run:
    """Opens a scope around a real `concurrent.futures.Executor`, with ``with`` or ``async with``.

    ``flavor``: ``threads``, ``processes``, ``interpreters``; ``auto`` lets the scheduler choose; ``none`` gives
    the pool that the whole process shares. ``executor``: use this one, and leave it open at the end.
    ``max_workers``, ``name`` (of the threads) and ``config`` go before everything that is configured elsewhere.
    ``trace``: True logs the decision, a `DecisionTrace` is filled in, a function is called with it.
    ``on_worker_crash`` and ``task_timeout``, for processes: ``"replace"`` lets the death of a worker fail its call
    alone, with `WorkerCrashed`; a call that runs for more seconds fails with `TaskTimeout`, and its worker is ended.
    ``modules``, for interpreters: what each imports before its first task; without, each imports what it needs.

    A scope within another of the same flavor, in the same thread, that asks for nothing else uses the other's
    executor. When the block ends, what was submitted is waited for, and the executor shut down.

    Within a service the executor belongs to that: it is named after it, counted in its metrics, and ends with it.

    Raises `ValueError` for another flavor, a size below 1, or an argument that is not for the flavor,
    `TypeError` for an executor that is none.
    """

    __slots__ = (
        "_config", "_flavor", "_hints", "_lease", "_name", "_progress", "_service", "_statistics", "_tally",
        "_thread", "_trace_to", "trace",
    )  # fmt: skip

    _progress: Progress | None
    _tally: Tally | None
    _thread: int

    trace: DecisionTrace | None
    """What was chosen and why, from the opening on."""

    def __init__(
        self,
        *,
        flavor: Flavor = "auto",
        executor: Executor | None = None,
        max_workers: int | None = None,
        name: str | None = None,
        config: RuntimeConfig | None = None,
        trace: DecisionTrace | bool | Callable[[DecisionTrace], object] | None = None,
        on_worker_crash: OnWorkerCrash | None = None,
        task_timeout: float | None = None,
        modules: Sequence[str] | None = None,
    ) -> None:
        if flavor not in FLAVORS:
            raise ValueError(f"flavor: {flavor!r} is not one of {', '.join(FLAVORS)}")
        hints: Hints = {}
        if max_workers is not None:
            check("max_workers", max_workers)
            hints["max_workers"] = max_workers
        if on_worker_crash is not None:
            check("on_worker_crash", on_worker_crash)
            hints["on_worker_crash"] = on_worker_crash
        if task_timeout is not None:
            check("task_timeout", task_timeout)
            hints["task_timeout"] = task_timeout
        if modules is not None:
            check("modules", modules)
            hints["modules"] = tuple(modules)
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(f"executor: {executor!r} is no concurrent.futures.Executor")
        if config is not None and not isinstance(config, RuntimeConfig):
            raise TypeError(f"config: {config!r} is no RuntimeConfig")
        if not (trace is None or isinstance(trace, bool | DecisionTrace) or callable(trace)):
            raise TypeError(f"trace: {trace!r} is neither a bool nor a DecisionTrace nor a function")
        if executor is not None:
            hints["executor"] = executor
        if name is not None:
            hints["name"] = name
        self._flavor: Flavor = flavor
        self._hints = hints
        self._name = name
        self._config = config
        self._trace_to = trace
        self._service: Owner | None = None
        self._lease: ExecutorLease | None = None
        self._statistics: Callable[[], Mapping[str, Any]] | None = None
        self.trace = trace if isinstance(trace, DecisionTrace) else None

    def __enter__(self) -> Executor:
        if self._lease is not None:
            raise RuntimeError("this Run is open already; each block takes a Run of its own")
        around = tuple(scope for scope in _open_here.get() if scope._lease is not None)
        if self._service is None:
            self._service = _current_service.current()
        lease = self._reused(around) or self._leased()
        self._lease = lease
        self._thread = get_ident()
        _open_here.set((self, *around))
        self._tell(lease.trace)
        lease.on_change = self._tell
        self._begin_to_count(lease)
        return lease.executor

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Literal[False]:
        lease = self._close()
        try:
            if lease.owns_executor:
                lease.executor.shutdown(wait=True, cancel_futures=self._is_stopping())
        finally:
            self._stop_counting(lease)
        return False

    async def __aenter__(self) -> Executor:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> Literal[False]:
        lease = self._close()
        try:
            if lease.owns_executor:
                from unirun.executors.shutdown import shutdown

                await shutdown(lease.executor, cancel_futures=self._is_stopping())
        finally:
            self._stop_counting(lease)
        return False

    @property
    def metrics(self) -> Metrics:
        """What became of the tasks of this scope so far; after the block, of all of them.

        They are those submitted to its executor. Where that is not of this scope alone, they are those submitted
        within the block: by its thread or coroutine, and by what runs in a copy of its context. Raises
        `RuntimeError` before the block, and for a provided executor without ``trace``.
        """
        from unirun.metrics import Metrics

        if self._statistics is None:
            raise RuntimeError("Run.metrics: not open yet, or an executor that counts only with Run(trace=True)")
        return Metrics.of(self._statistics())

    def __repr__(self) -> str:
        state = "not open" if self._lease is None else f"open, {self._lease.executor!r}"
        return f"<Run flavor={self._flavor!r} {state}>"

    # ---- Opening and closing ----

    def belonging_to(self, service: Owner) -> Run:
        """This scope, which belongs to ``service`` wherever it is opened."""
        self._service = service
        return self

    def _leased(self) -> ExecutorLease:
        mark = _current_service.enter(self._service)
        try:
            lease = global_scheduler().lease_executor(MODE_OF[self._flavor], config=self._config, **self._hints)
        finally:
            _current_service.leave(mark)
        if self._service is not None and lease.owns_executor:
            self._service._opened().add(lease.executor)
        return lease

    def _is_stopping(self) -> bool:
        """Whether its service was asked to stop: then what has not begun never does."""
        return self._service is not None and self._service.cancellation.is_cancellation_requested

    def _reused(self, around: tuple[Run, ...]) -> ExecutorLease | None:
        """The executor of the nearest scope around of the same flavor, if nothing else is asked for."""
        if self._hints or self._config is not None:
            return None
        # A task that waits for tasks of its own pool can wait for ever: a worker that was given our context
        # variables is another thread, and gets another pool.
        me = get_ident()
        outer = next((each for each in around if each._flavor == self._flavor and each._thread == me), None)
        if outer is None or outer._lease is None:
            return None
        theirs = outer._lease.trace
        trace = DecisionTrace(
            mode=MODE_OF[self._flavor],
            hints={},
            resolved_mode=theirs.resolved_mode,
            reason=reason_for("nested"),
            thread_mode=theirs.thread_mode,
            name=theirs.name,
            max_workers=theirs.max_workers,
            codes=("nested",),
        )
        global_scheduler().record(trace)
        return ExecutorLease(outer._lease.executor, False, trace)

    def _tell(self, trace: DecisionTrace) -> None:
        to = self._trace_to
        if isinstance(to, DecisionTrace):
            to.take(trace)
            return
        self.trace = trace
        if to is True:
            log(trace)
        elif callable(to):
            tell(to, trace)

    def _begin_to_count(self, lease: ExecutorLease) -> None:
        executor: Any = lease.executor
        self._statistics = self._tally = self._progress = None
        if lease.owns_executor and hasattr(executor, "_statistics"):  # The usual case, at no cost.
            self._statistics = executor._statistics
        elif lease.owns_executor or self._trace_to or "executor" not in self._hints:
            from unirun.executors.counting import count

            self._tally = count(executor, None if lease.owns_executor else self._is_around)
            self._statistics = self._tally._statistics
        if self._statistics is not None and lease.owns_executor and self._shows_progress():
            from unirun.progress import open_progress

            self._progress = open_progress(self._name or f"Run {self._flavor}", self._statistics)

    def _is_around(self) -> bool:
        """Whether this is called within the block."""
        return self in _open_here.get()

    def _shows_progress(self) -> bool | None:
        return global_scheduler().effective(self._config).progress

    def _stop_counting(self, lease: ExecutorLease) -> None:
        if self._service is not None and lease.owns_executor:
            self._service._opened().remove(lease.executor)
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        if self._tally is not None:
            from unirun.executors.counting import stop_counting

            stop_counting(lease.executor, self._tally)
            self._tally = None

    def _close(self) -> ExecutorLease:
        lease = self._lease
        if lease is None:
            raise RuntimeError("this Run is not open")
        self._lease = None
        _open_here.set(tuple(scope for scope in _open_here.get() if scope is not self))
        return lease
