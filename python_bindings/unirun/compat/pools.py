"""What the managed pools have in common: they pass for the standard classes, decide, and say when they step back."""

from __future__ import annotations

import copyreg
import sys
import warnings
from functools import wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from unirun._warn import is_ours

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

    from unirun.executors.pools import Kind

T = TypeVar("T")
NEEDS_STANDARD = "initializer requires stdlib executor"


class StandIn(type):
    """The type of a class that passes for the standard class that it names in ``__stands_for__``.

    Whatever is one of those is one of these; it has their name; and it is pickled by the name under which
    `unirun.compat` has it.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        return super().__instancecheck__(instance) or cls.__subclasscheck__(type(instance))

    def __subclasscheck__(cls, subclass: type) -> bool:
        if super().__subclasscheck__(subclass):
            return True
        stands_for = vars(cls).get("__stands_for__")
        return stands_for is not None and issubclass(subclass, stands_for)


def passing_for(standard: Any) -> Callable[[T], T]:
    """Decorate a function that has the signature of ``standard``, and shows it."""
    decorate: Callable[[T], T] = wraps(standard)  # type: ignore[assignment]
    return decorate


def _managed(name: str) -> type:
    found: type = getattr(import_module("unirun.compat"), name)
    return found


def _reduce(cls: StandIn) -> str | tuple[Any, ...]:
    return (_managed, (cls.__name__,)) if "__stands_for__" in vars(cls) else cls.__qualname__


copyreg.pickle(StandIn, _reduce)


def wants_standard() -> bool:
    """Whether the configuration names the standard library's engines."""
    from unirun.scheduler import global_scheduler

    return global_scheduler().config.engine == "stdlib"


def replaced_in(module: ModuleType, names: tuple[str, ...]) -> str:
    """Say which of these functions of ``module`` a program has put another one for; "" if none."""
    for name in names:
        found: Any = module
        for part in name.split("."):
            found = getattr(found, part, None)
        if getattr(found, "__globals__", None) is not vars(module):
            return f"{module.__name__}.{name.removesuffix('.__init__')} was replaced"
    return ""


def decide(pool: Any, kind: Kind, max_workers: int | None, why_standard: str = "", *, expected: bool = False) -> None:
    """Tell the listeners what ``pool`` has become; warn its maker if it is not ``expected`` to be standard."""
    from unirun.decisions import DecisionTrace, reason_for
    from unirun.scheduler import global_scheduler

    scheduler = global_scheduler()
    codes = ("requested", "downgrade") if why_standard else ("requested",)
    scheduler.record(
        DecisionTrace(
            mode=kind,
            hints={} if max_workers is None else {"max_workers": max_workers},
            resolved_mode=kind,
            reason=reason_for(*codes, detail=why_standard or _about_threads(kind)),
            thread_mode=scheduler.config.thread_mode,
            name=getattr(pool, "_thread_name_prefix", None),
            max_workers=pool._max_workers,
            codes=codes,  # type: ignore[arg-type]
        )
    )
    if why_standard and not expected:
        name = next(each.__name__ for each in type(pool).__mro__ if "__stands_for__" in vars(each))
        level = _maker_of(pool)
        warnings.warn(f"{name} downgraded to stdlib behaviour: {why_standard}", RuntimeWarning, stacklevel=level)


def _about_threads(kind: Kind) -> str:
    """What ``UNIRUN_THREAD_MODE`` comes to for a pool of threads that was asked for by name."""
    from unirun.scheduler import global_scheduler

    scheduler = global_scheduler()
    wanted = scheduler.config.thread_mode
    if kind != "thread" or wanted == "auto":
        return ""
    has = "gil" if scheduler.capabilities.gil_enabled else "nogil"
    return f"thread_mode {wanted!r}, and threads here are {has}"


def _maker_of(pool: object) -> int:
    """The stacklevel of the line that makes ``pool``: beyond us, and beyond the constructors of its subclasses."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and (is_ours(frame) or _constructs(frame, pool)):
        frame, level = frame.f_back, level + 1
    return level


def _constructs(frame: FrameType, pool: object) -> bool:
    code = frame.f_code
    return code.co_name == "__init__" and code.co_argcount > 0 and frame.f_locals.get(code.co_varnames[0]) is pool
