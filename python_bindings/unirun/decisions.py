"""`DecisionTrace`: what was chosen and why; and those who listen to every decision."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, fields
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from unirun.config import ThreadMode

LOGGER = logging.getLogger("unirun.scheduler")

Reason: TypeAlias = Literal[
    "provided", "nested", "requested", "forced_threads", "forced_process", "pinned", "automation_off",
    "prefers_subinterpreters", "cpu_bound", "cpu_bound_nogil", "io_bound", "thread_mode_gil",
    "thread_mode_nogil", "free_threaded", "default", "fallback", "engine_fallback", "downgrade",
]  # fmt: skip

REASONS: dict[Reason, str] = {
    "provided": "the caller supplied the executor",
    "nested": "the scope around has an executor of this flavor: reused",
    "requested": "the caller asked for it",
    "forced_threads": "forced to threads by the configuration",
    "forced_process": "forced to processes by the configuration",
    "pinned": "the configuration names the mode",
    "automation_off": "automation is off: the shared thread pool",
    "prefers_subinterpreters": "interpreters are preferred by the configuration",
    "cpu_bound": "cpu-bound work, and threads share one GIL: processes",
    "cpu_bound_nogil": "cpu-bound work, and threads run in parallel: nogil",
    "io_bound": "io-bound work waits: threads",
    "thread_mode_gil": "thread_mode 'gil': threads are not counted on to compute in parallel: processes",
    "thread_mode_nogil": "thread_mode 'nogil': threads are counted on to compute in parallel",
    "free_threaded": "free-threaded interpreter, threads run in parallel: nogil",
    "default": "nothing else is known: threads start at once and share everything",
    "fallback": "fell back to threads",
    "engine_fallback": "fell back to the standard library's class",
    "downgrade": "downgraded to stdlib behaviour",
}
"""Every reason code, and how it reads in `DecisionTrace.reason`."""


@dataclass(slots=True, kw_only=True)
class DecisionTrace:
    """One decision. Mutable: a trace given to `Run` is filled in when the scope opens."""

    mode: str
    """What was asked for."""

    hints: dict[str, Any]
    """What was said along with it."""

    resolved_mode: str
    """``thread``, ``process``, ``subinterpreter``, ``none`` (the shared thread pool) or ``provided``."""

    reason: str
    """Why, as a sentence."""

    thread_mode: ThreadMode | None = None
    name: str | None = None
    max_workers: int | None = None
    """The size of the pool; None where it was not ours to choose."""

    codes: tuple[Reason, ...] = ()
    """Why, as words of `REASONS`: the choice, then each fallback."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for logs and JSON."""
        return {each.name: getattr(self, each.name) for each in fields(self)} | {"hints": dict(self.hints)}

    def take(self, other: DecisionTrace) -> None:
        """Become equal to ``other``."""
        for each in fields(self):
            setattr(self, each.name, getattr(other, each.name))

    def __str__(self) -> str:
        asked = self.mode if self.name is None else f"{self.mode} for {self.name!r}"
        sized = "" if self.max_workers is None else f" with {self.max_workers} workers"
        return f"{asked} -> {self.resolved_mode}{sized}: {self.reason}"


def reason_for(*codes: Reason, detail: str = "") -> str:
    """The sentence of ``codes``, with ``detail`` behind the last."""
    told = "; ".join(REASONS[code] for code in codes)
    return f"{told}: {detail}" if detail else told


# ---- Listeners ----

_listeners: tuple[Callable[[DecisionTrace], object], ...] = ()  # Replaced, never changed: read without the lock.
_changing = Lock()


def add_decision_listener(listener: Callable[[DecisionTrace], object]) -> None:
    """Call ``listener`` with every decision from now on, in the thread that decides, before its executor is used.

    Adding it twice has no effect; equal bound methods are the same listener. What it raises is logged.
    """
    global _listeners
    with _changing:
        if listener not in _listeners:
            _listeners += (listener,)


def remove_decision_listener(listener: Callable[[DecisionTrace], object]) -> None:
    """Call it no more. Nothing happens if it is not there."""
    global _listeners
    with _changing:
        _listeners = tuple(each for each in _listeners if each != listener)


@contextmanager
def observe_decisions(*, logger: logging.Logger | None = None, level: int = logging.INFO) -> Iterator[None]:
    """Log every decision within the block, of all threads. Default: the logger ``unirun.scheduler``."""
    target = LOGGER if logger is None else logger

    def observe(trace: DecisionTrace) -> None:
        log(trace, target, level)

    add_decision_listener(observe)
    try:
        yield
    finally:
        remove_decision_listener(observe)


def log(trace: DecisionTrace, logger: logging.Logger = LOGGER, level: int = logging.INFO) -> None:
    logger.log(level, "scheduler resolved %s", trace, extra={"decision": trace})


def notify(trace: DecisionTrace) -> None:
    """Tell all listeners. One that fails costs nobody an executor."""
    for listener in _listeners:
        tell(listener, trace)


def tell(listener: Callable[[DecisionTrace], object], trace: DecisionTrace) -> None:
    """Call ``listener``; what it raises is logged."""
    try:
        listener(trace)
    except Exception:
        LOGGER.exception("decision listener %r failed at: %s", listener, trace)
