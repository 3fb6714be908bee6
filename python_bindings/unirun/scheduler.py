"""The scheduler: chooses a mode, finds or makes its executor, and tells why.

What is said in the call goes first, then the `RuntimeConfig`, then the environment, then what the
interpreter and the machine can do. Thread: any.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypedDict, Unpack, cast, get_args

from unirun import _current_service
from unirun._warn import warn_caller
from unirun.capabilities import RuntimeCapabilities, detect_capabilities
from unirun.config import Mode, RuntimeConfig, ThreadMode
from unirun.decisions import (
    DecisionTrace,
    add_decision_listener,
    notify,
    observe_decisions,
    reason_for,
    remove_decision_listener,
)
from unirun.executors import shared
from unirun.executors.pools import CANNOT_START, NewPool, new_pool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from unirun.config import OnWorkerCrash
    from unirun.decisions import Reason
    from unirun.executors.pools import Kind

__all__ = [
    "DecisionTrace",
    "ExecutorLease",
    "Scheduler",
    "add_decision_listener",
    "choose",
    "configure",
    "get_executor",
    "global_scheduler",
    "interpreter_executor",
    "last_decision",
    "lease_executor",
    "observe_decisions",
    "process_executor",
    "remove_decision_listener",
    "reset",
    "thread_executor",
    "why_no_interpreters",
]

Resolved: TypeAlias = Literal["thread", "process", "subinterpreter", "none"]
MODES: tuple[str, ...] = get_args(Mode)
OWN_NAME = "unirun-run"  # The threads of a pool that was leased without a name.


class Hints(TypedDict, total=False):
    """What a call may say; from ``cpu_bound`` on they stand for the fields of `RuntimeConfig`."""

    executor: Executor | None
    max_workers: int | None
    name: str | None
    cpu_bound: bool | None
    io_bound: bool | None
    prefers_subinterpreters: bool | None
    thread_mode: ThreadMode | None
    force_threads: bool
    force_process: bool
    on_worker_crash: OnWorkerCrash | None
    task_timeout: float | None
    modules: Sequence[str] | None


HINTS = tuple(Hints.__annotations__)
ABOUT_THE_CALL = ("executor", "max_workers", "name")
ONLY_FOR: dict[str, Resolved] = {
    "on_worker_crash": "process",
    "task_timeout": "process",
    "modules": "subinterpreter",
}


@dataclass(slots=True)
class ExecutorLease:
    """An executor, and whether whoever leased it shuts it down."""

    executor: Executor
    owns_executor: bool
    trace: DecisionTrace
    on_change: Callable[[DecisionTrace], object] | None = None
    """Called with the new trace, should the native engine turn out to be unable to start at its first call."""


class Choice(NamedTuple):
    mode: Resolved
    code: Reason


def choose(mode: Mode, config: RuntimeConfig, capabilities: RuntimeCapabilities) -> Choice:
    """All the branching of a decision, and nothing else: what is asked, what is configured, what is there."""
    if mode != "auto":
        return Choice(mode, "requested")
    if config.force_threads:
        return Choice("thread", "forced_threads")
    if config.force_process:
        return Choice("process", "forced_process")
    if config.mode != "auto":
        return Choice(config.mode, "pinned")
    if not config.auto:
        return Choice("none", "automation_off")
    if config.prefers_subinterpreters:
        return Choice("subinterpreter", "prefers_subinterpreters")
    if config.thread_mode == "nogil":
        return Choice("thread", "thread_mode_nogil")
    if config.io_bound and not config.cpu_bound:
        return Choice("thread", "io_bound")
    if config.thread_mode == "gil":
        return Choice("process", "thread_mode_gil")
    if not config.cpu_bound:
        return Choice("thread", "default" if capabilities.gil_enabled else "free_threaded")
    return Choice("process", "cpu_bound") if capabilities.gil_enabled else Choice("thread", "cpu_bound_nogil")


def size_of(mode: Resolved, config: RuntimeConfig, capabilities: RuntimeCapabilities) -> int:
    """How many workers a pool gets for which the call names no number."""
    if config.max_workers is not None:
        return config.max_workers
    if mode == "process":
        return capabilities.suggested_process_workers
    if mode == "subinterpreter":
        return capabilities.suggested_cpu_workers
    return capabilities.suggested_io_workers


def why_no_interpreters(config: RuntimeConfig, capabilities: RuntimeCapabilities) -> str | None:
    """Why threads take the place of interpreters here, or None if they need not."""
    if not capabilities.supports_subinterpreters:
        release = capabilities.python_release
        return f"interpreters with a GIL of their own need CPython 3.12 or newer, this is {release}"
    if capabilities.subinterpreters_safe or config.prefers_subinterpreters:
        return None
    return f"{_risk(capabilities)}; prefers_subinterpreters=True uses them nevertheless"


def _risk(capabilities: RuntimeCapabilities) -> str:
    if capabilities.gil_enabled:
        release = capabilities.python_release
        return f"interpreters with a GIL of their own can corrupt memory before 3.14, this is {release}"
    return "without the GIL, threads do the same some twenty times faster"


class Scheduler:
    """Decides by one `RuntimeConfig`, or by the environment as it is when first asked."""

    def __init__(self, *, config: RuntimeConfig | None = None) -> None:
        self._given = config
        self._environment: RuntimeConfig | None = None
        self._config: RuntimeConfig | None = None
        self._capabilities: RuntimeCapabilities | None = None
        self._trace: DecisionTrace | None = None

    @property
    def config(self) -> RuntimeConfig:
        """What it decides by: what was given, over the environment."""
        if self._config is None:
            self._config = self._over_environment(self._given)
        return self._config

    @property
    def capabilities(self) -> RuntimeCapabilities:
        """What it decides by, looked up once."""
        if self._capabilities is None:
            self._capabilities = detect_capabilities()
        return self._capabilities

    @property
    def trace(self) -> DecisionTrace | None:
        """The last decision."""
        return self._trace

    def effective(self, config: RuntimeConfig | None) -> RuntimeConfig:
        """What a call with ``config`` is decided by: ``config`` over the environment, or without one `config`."""
        return self.config if config is None else self._over_environment(config)

    def configure(self, config: RuntimeConfig) -> None:
        """Decide by ``config`` from now on. Pools that exist stay as they are."""
        if not isinstance(config, RuntimeConfig):
            raise TypeError(f"configure takes a RuntimeConfig, not {type(config).__name__}")
        self._given = config
        self.forget()

    def forget(self) -> None:
        """Look at the environment and the capabilities again when next asked."""
        self._environment = self._config = self._capabilities = self._trace = None

    def get_executor(self, mode: Mode = "auto", **hints: Unpack[Hints]) -> Executor:
        """The shared executor for ``mode``; it is not the caller's to shut down.

        Raises `ValueError` for another mode and for a hint that the chosen one has no use for, `TypeError` for one
        that there is not.
        """
        return self._decide(mode, None, cast("dict[str, Any]", hints), leased=False).executor

    def lease_executor(
        self, mode: Mode = "auto", *, config: RuntimeConfig | None = None, **hints: Unpack[Hints]
    ) -> ExecutorLease:
        """A new executor for ``mode``, which the caller shuts down where the lease says that it is owned.

        The shared pool (``none``) and a provided executor are not. Raises as `get_executor` does.
        """
        return self._decide(mode, config, cast("dict[str, Any]", hints), leased=True)

    def record(self, trace: DecisionTrace) -> None:
        """Make ``trace`` the last decision and tell the listeners."""
        self._trace = trace
        notify(trace)

    # ---- How ----

    def _over_environment(self, config: RuntimeConfig | None) -> RuntimeConfig:
        if self._environment is None:
            self._environment = RuntimeConfig.from_env()
        return self._environment if config is None else config.over(self._environment)

    def _decide(
        self, mode: Mode, config: RuntimeConfig | None, hints: dict[str, Any], *, leased: bool
    ) -> ExecutorLease:
        if mode not in MODES:
            raise ValueError(f"mode: {mode!r} is not one of {', '.join(MODES)}")
        for name in hints:
            if name not in HINTS:
                raise TypeError(f"{name!r} is no hint; there are {', '.join(HINTS)}")
        active = self.effective(config)
        hints = {name: value for name, value in hints.items() if value is not None}
        if hints:
            active = _with_hints(active, hints)
        if (executor := hints.pop("executor", None)) is not None:  # A trace keeps no executor alive.
            if wrong := [name for name in ONLY_FOR if name in hints]:
                raise ValueError(f"{wrong[0]}: a provided executor is used as it is; set it where that is made")
            lease = ExecutorLease(executor, False, _trace(mode, hints, active, "provided", None, ["provided"]))
        else:
            lease = self._pool(mode, active, hints, leased=leased)
        self.record(lease.trace)
        return lease

    def _pool(self, mode: Mode, config: RuntimeConfig, hints: dict[str, Any], *, leased: bool) -> ExecutorLease:
        resolved, code = choose(mode, config, self.capabilities)
        for name in ONLY_FOR:
            if name in hints and ONLY_FOR[name] != resolved:
                raise ValueError(f"{name} is for mode {ONLY_FOR[name]!r}; this is {resolved!r}: {reason_for(code)}")
        codes: list[Reason] = [code]
        detail = ""
        owned = leased and resolved != "none"
        pool = None
        if resolved == "subinterpreter":
            pool, detail = self._interpreters(config, hints, owned=owned)
            if pool is None:
                resolved = "thread"
                codes.append("fallback")
                warn_caller(f"fell back to threads: {detail}")
        size = hints.get("max_workers")
        if size is None:
            size = size_of(resolved, config, self.capabilities)
        if pool is None:
            kind: Kind = "thread" if resolved == "none" else resolved
            pool = _made(kind, size, hints.get("name"), config, owned=owned)
        if (why := pool.why_standard or getattr(pool.executor, "_why_standard", None)) is not None:
            codes.append("engine_fallback")
            detail = why
        lease = ExecutorLease(pool.executor, owned, _trace(mode, hints, config, resolved, size, codes, detail))
        if (when_handed_over := getattr(pool.executor, "_when_handed_over", None)) is not None:
            when_handed_over(partial(self._engine_replaced, lease))
        return lease

    def _engine_replaced(self, lease: ExecutorLease, why: str) -> None:
        """At its first call the native engine of ``lease`` could not start."""
        codes: tuple[Reason, ...] = (*lease.trace.codes, "engine_fallback")
        lease.trace = replace(lease.trace, codes=codes, reason=reason_for(*codes, detail=why))
        self.record(lease.trace)
        if lease.on_change is not None:
            lease.on_change(lease.trace)

    def _interpreters(self, config: RuntimeConfig, hints: dict[str, Any], *, owned: bool) -> tuple[NewPool | None, str]:
        """A pool of interpreters, or why there is none."""
        has = self.capabilities
        if (why_not := why_no_interpreters(config, has)) is not None:
            return None, why_not
        if not has.subinterpreters_safe:
            warn_caller(f"interpreters are used as asked, but {_risk(has)}")
        size = hints.get("max_workers") or size_of("subinterpreter", config, has)
        try:
            return _made("subinterpreter", size, hints.get("name"), config, owned=owned), ""
        except CANNOT_START as error:
            return None, f"interpreters cannot start on {has.python_release}: {error!r}"


def _made(kind: Kind, size: int, name: str | None, config: RuntimeConfig, *, owned: bool) -> NewPool:
    if owned:
        service = _current_service.current()
        if service is not None:
            return new_pool(kind, size, service.name_pool(name), config, service)
        return new_pool(kind, size, name or OWN_NAME, config)
    return shared.shared_pool(kind, size, config)


def _with_hints(config: RuntimeConfig, hints: dict[str, Any]) -> RuntimeConfig:
    """``config`` with what the call says in its place."""
    said = {name: value for name, value in hints.items() if name not in ABOUT_THE_CALL}
    return replace(config, **said) if said else config


def _trace(
    mode: str,
    hints: dict[str, Any],
    config: RuntimeConfig,
    resolved: str,
    size: int | None,
    codes: list[Reason],
    detail: str = "",
) -> DecisionTrace:
    return DecisionTrace(
        mode=mode,
        hints=hints,
        resolved_mode=resolved,
        reason=reason_for(*codes, detail=detail),
        thread_mode=config.thread_mode,
        name=hints.get("name"),
        max_workers=size,
        codes=tuple(codes),
    )


# ---- The one that everything uses ----

_scheduler = Scheduler()


def global_scheduler() -> Scheduler:
    """The scheduler behind `Run` and the functions of ``unirun``."""
    return _scheduler


def get_executor(mode: Mode = "auto", **hints: Unpack[Hints]) -> Executor:
    """The shared executor for ``mode``; it is not the caller's to shut down: see `Scheduler.get_executor`."""
    return _scheduler.get_executor(mode, **hints)


def lease_executor(
    mode: Mode = "auto", *, config: RuntimeConfig | None = None, **hints: Unpack[Hints]
) -> ExecutorLease:
    """A new executor for ``mode``: see `Scheduler.lease_executor`."""
    return _scheduler.lease_executor(mode, config=config, **hints)


def last_decision() -> DecisionTrace | None:
    """The last decision of this process, or None."""
    return _scheduler.trace


def configure(config: RuntimeConfig) -> None:
    """Decide by ``config`` from now on. Pools that exist stay as they are, until `reset`."""
    _scheduler.configure(config)


def reset(*, cancel_futures: bool = False) -> None:
    """Shut all shared pools down and wait for them; look at the environment and the capabilities again.

    A configuration that was given stays. The pools of open `Run` blocks end with their blocks.
    """
    shared.close_all(cancel_futures=cancel_futures)
    _scheduler.forget()


def _shared(kind: Kind, max_workers: int | None) -> Executor:
    if max_workers is None:
        max_workers = size_of(kind, _scheduler.config, _scheduler.capabilities)
    return shared.shared_pool(kind, max_workers, _scheduler.config).executor


def thread_executor(*, max_workers: int | None = None) -> Executor:
    """The shared thread pool of this size, the same object each time; its threads are called ``unirun-thread``."""
    return _shared("thread", max_workers)


def process_executor(*, max_workers: int | None = None) -> Executor:
    """The shared process pool of this size, the same object each time."""
    return _shared("process", max_workers)


def interpreter_executor(*, max_workers: int | None = None) -> Executor:
    """The shared pool of interpreters of this size; where there are none, threads, with a `RuntimeWarning`."""
    return _scheduler.get_executor("subinterpreter", max_workers=max_workers)
