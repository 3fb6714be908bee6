"""`Run`: a block with a `concurrent.futures.Executor` in it, shut down when the block ends."""

from __future__ import annotations

from contextvars import ContextVar
from threading import get_ident
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from unirun import _current_service
from unirun.config import RuntimeConfig
from unirun.decisions import DecisionTrace, log, reason_for, tell
from unirun.scheduler import ExecutorLease, global_scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor
    from contextvars import Token
    from types import TracebackType

    from unirun._current_service import Owner
    from unirun.config import Mode
    from unirun.metrics import Metrics
    from unirun.progress import Progress

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

_innermost: ContextVar[Run | None] = ContextVar("unirun.Run", default=None)


class Run:
    """Opens a scope around a real `concurrent.futures.Executor`, with ``with`` or ``async with``.

    ``flavor``: ``threads``, ``processes``, ``interpreters``; ``auto`` lets the scheduler choose; ``none`` gives
    the pool that the whole process shares. ``executor``: use this one, and leave it open at the end.
    ``max_workers``, ``name`` (of the threads) and ``config`` go before everything that is configured elsewhere.
    ``trace``: True logs the decision, a `DecisionTrace` is filled in, a function is called with it.

    A scope within another of the same flavor, in the same thread, that asks for nothing else uses the other's
    executor. When the block ends, what was submitted is waited for, and the executor shut down.

    Within a service the executor belongs to that: it is named after it, counted in its metrics, and ends with it.

    Raises `ValueError` for another flavor or a size below 1, `TypeError` for an executor that is none.
    """

    __slots__ = (
        "_before", "_config", "_counts", "_flavor", "_lease", "_max_workers", "_name", "_outer", "_progress",
        "_provided", "_service", "_statistics", "_thread", "_token", "_trace_to", "trace",
    )  # fmt: skip

    _before: Mapping[str, Any] | None
    _counts: Executor | None
    _outer: Run | None
    _progress: Progress | None
    _thread: int
    _token: Token[Run | None]

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
    ) -> None:
        if flavor not in FLAVORS:
            raise ValueError(f"flavor: {flavor!r} is not one of {', '.join(FLAVORS)}")
        if max_workers is not None and max_workers <= 0:
            raise ValueError(f"max_workers must be greater than 0, not {max_workers}")
        if executor is not None and not callable(getattr(executor, "submit", None)):
            raise TypeError(f"executor: {executor!r} is no concurrent.futures.Executor")
        if config is not None and not isinstance(config, RuntimeConfig):
            raise TypeError(f"config: {config!r} is no RuntimeConfig")
        if not (trace is None or isinstance(trace, bool | DecisionTrace) or callable(trace)):
            raise TypeError(f"trace: {trace!r} is neither a bool nor a DecisionTrace nor a function")
        self._flavor: Flavor = flavor
        self._provided = executor
        self._max_workers = max_workers
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
        self._outer = _innermost.get()
        if self._service is None:
            self._service = _current_service.current()
        self._lease = lease = self._reused() or self._leased()
        self._thread = get_ident()
        self._token = _innermost.set(self)
        self._tell(lease.trace)
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

        In an executor that is not of this scope alone, it counts what others submit meanwhile. Raises
        `RuntimeError` before the block, and for a provided or shared executor that counts nothing.
        """
        from unirun.metrics import Metrics

        if self._statistics is None:
            raise RuntimeError("Run.metrics: not open yet, or an executor that counts only with Run(trace=True)")
        now = Metrics.of(self._statistics())
        return now if self._before is None else now.since(Metrics.of(self._before))

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
            lease = global_scheduler().lease_executor(
                MODE_OF[self._flavor],
                config=self._config,
                executor=self._provided,
                max_workers=self._max_workers,
                name=self._name,
            )
        finally:
            _current_service.leave(mark)
        if self._service is not None and lease.owns_executor:
            self._service._opened().add(lease.executor)
        return lease

    def _is_stopping(self) -> bool:
        """Whether its service was asked to stop: then what has not begun never does."""
        return self._service is not None and self._service.cancellation.is_cancellation_requested

    def _reused(self) -> ExecutorLease | None:
        """The executor of the nearest scope around of the same flavor, if nothing else is asked for."""
        if any(asked is not None for asked in (self._provided, self._max_workers, self._name, self._config)):
            return None
        outer = self._outer
        while outer is not None and not (outer._flavor == self._flavor and outer._is_open_here()):
            outer = outer._outer
        if outer is None:
            return None
        assert outer._lease is not None
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

    def _is_open_here(self) -> bool:
        # A task that waits for tasks of its own pool can wait for ever: a worker that was given our context
        # variables is another thread, and gets another pool.
        return self._lease is not None and self._thread == get_ident()

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
        executor = lease.executor
        self._before = self._counts = self._progress = None
        native = getattr(executor, "_statistics", None)
        if native is not None and lease.owns_executor:  # The usual case, at no cost.
            self._statistics = native
        else:
            self._count_in(executor, lease)
        if self._statistics is not None and lease.owns_executor and self._shows_progress():
            from unirun.progress import open_progress

            self._progress = open_progress(self._name or f"Run {self._flavor}", self._statistics)

    def _count_in(self, executor: Executor, lease: ExecutorLease) -> None:
        from unirun import metrics

        if metrics.source_of(executor) is None and (lease.owns_executor or self._trace_to):
            metrics.count(executor)
            self._counts = executor
        self._statistics = metrics.source_of(executor)
        if self._statistics is not None and not lease.owns_executor:
            self._before = self._statistics()

    def _shows_progress(self) -> bool | None:
        return global_scheduler().effective(self._config).progress

    def _stop_counting(self, lease: ExecutorLease) -> None:
        if self._service is not None and lease.owns_executor:
            self._service._opened().remove(lease.executor)
        if self._progress is not None:
            self._progress.close()
            self._progress = None
        if self._counts is not None:
            from unirun.metrics import stop_counting

            stop_counting(self._counts)
            self._counts = None

    def _close(self) -> ExecutorLease:
        lease = self._lease
        if lease is None:
            raise RuntimeError("this Run is not open")
        self._lease = None
        self._outer = None
        try:
            _innermost.reset(self._token)
        except ValueError:  # Left in another context than it was entered in, as async generators do.
            pass
        return lease
