"""Makes new pools: the native engine of each kind, or the standard class in its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from unirun import _current_service
from unirun._standard import standard
from unirun._warn import warn_caller

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from multiprocessing.context import BaseContext

    from unirun._current_service import Owner
    from unirun.config import RuntimeConfig

Kind: TypeAlias = Literal["thread", "process", "subinterpreter"]

# The native class of each kind: a subclass of the standard one, with its constructor.
NATIVE: dict[Kind, str] = {
    "thread": "unirun.executors.threads:ThreadPoolExecutor",
    "process": "unirun.executors.processes:ProcessPoolExecutor",
    "subinterpreter": "unirun.executors.interpreters:consented_pool",
}
STANDARD: dict[Kind, str] = {
    "thread": "concurrent.futures.thread:ThreadPoolExecutor",
    "process": "concurrent.futures.process:ProcessPoolExecutor",
    "subinterpreter": "concurrent.futures:InterpreterPoolExecutor",  # From 3.14 on.
}
# What the standard classes have no word for.
NEEDS_ENGINE: dict[Kind, tuple[str, ...]] = {
    "thread": (),
    "process": ("on_worker_crash", "task_timeout"),
    "subinterpreter": ("modules",),
}
CANNOT_START = (OSError, RuntimeError, ImportError, AttributeError)  # Not ValueError, TypeError: the caller's own.


class NewPool(NamedTuple):
    executor: Executor
    why_standard: str | None
    """Why the native engine was not to be had, where it was wanted."""


def new_pool(
    kind: Kind, max_workers: int | None, name: str, config: RuntimeConfig, service: Owner | None = None
) -> NewPool:
    """A pool that is the caller's to shut down; what runs in it belongs to ``service``, if there is one.

    A native engine that cannot start is replaced by the standard class, with a `RuntimeWarning`.
    Raises `ValueError` for a size that is no size, and for what the standard class has no word for where that
    is to be used; and whatever the standard class raises.
    """
    why_standard = None
    _refuse_without_engine(kind, config)
    if config.engine != "stdlib" and kind in NATIVE:
        try:
            return NewPool(_made(NATIVE[kind], kind, max_workers, name, config, service), None)
        except CANNOT_START as error:
            if wanted := _needs_engine(kind, config):
                error.add_note(f"{wanted} needs the native {kind} engine, which cannot start")
                raise
            why_standard = f"the native {kind} engine cannot start: {error!r}"
    pool = _made(STANDARD[kind], kind, max_workers, name, config, service)
    if why_standard is not None:
        warn_caller(f"{why_standard}; {type(pool).__name__} of the standard library takes its place")
    return NewPool(pool, why_standard)


def _needs_engine(kind: Kind, config: RuntimeConfig) -> str | None:
    """What is configured that only the native engine does."""
    for name in NEEDS_ENGINE[kind]:
        if (value := getattr(config, name)) not in (None, "break", ()):
            return f"{name}={value!r}"
    return None


def _refuse_without_engine(kind: Kind, config: RuntimeConfig) -> None:
    if config.engine == "stdlib" and (wanted := _needs_engine(kind, config)):
        raise ValueError(f"{wanted} needs engine='native'; engine='stdlib' is configured")


def _made(
    path: str, kind: Kind, max_workers: int | None, name: str, config: RuntimeConfig, service: Owner | None
) -> Executor:
    module, _, class_name = path.partition(":")
    make: Any = getattr(standard(module), class_name)
    pool: Executor
    if kind == "thread":
        pool = make(max_workers, thread_name_prefix=name, **_belonging(service))
    elif kind == "subinterpreter":
        modules = {"modules": config.modules} if config.modules else {}
        pool = make(max_workers, thread_name_prefix=name, **modules)
    elif path == STANDARD[kind]:
        if config.pickler == "cloudpickle":
            from unirun.executors.by_value import sending_by_value

            make = sending_by_value(make)
        pool = make(max_workers, mp_context=_context_beside_threads(), **_naming(name, service))
    else:  # It chooses how to start its workers, and has picklers of its own.
        pool = make(
            max_workers,
            **_naming(name, service),
            pickler=config.pickler or "pickle",
            on_worker_crash=config.on_worker_crash or "break",
            task_timeout=config.task_timeout,
        )
    return pool


def _naming(name: str, service: Owner | None) -> dict[str, Any]:
    if service is None:
        return {}
    from unirun._service_pools import name_process

    return {"initializer": name_process, "initargs": (name,)}


def _belonging(service: Owner | None) -> dict[str, Any]:
    if service is None or _current_service.is_process(service):
        return {}
    return {"initializer": _current_service.enter, "initargs": (service,)}


def _context_beside_threads() -> BaseContext | None:
    """The default context, unless it forks and other threads run: a fork copies their locks as they are."""
    import multiprocessing

    # Native threads count: those of a host, or of a worker's channel. `threading` does not know them.
    if multiprocessing.get_start_method() == "fork" and len(os.listdir("/proc/self/task")) > 1:
        return multiprocessing.get_context("forkserver")
    return None
