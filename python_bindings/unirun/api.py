"""The functions that need no scope: submit, map and run on the executor that the scheduler chooses."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from unirun.scheduler import get_executor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Executor, Future

    from unirun.config import Mode

P = ParamSpec("P")
T = TypeVar("T")


def submit(executor: Executor, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """``executor.submit(func, ...)``."""
    return executor.submit(func, *args, **kwargs)


def map(  # noqa: A001 The word of `Executor.map`.
    executor: Executor,
    func: Callable[..., T],
    /,
    *iterables: Iterable[Any],
    timeout: float | None = None,
    chunksize: int = 1,
) -> Iterator[T]:
    """``executor.map(func, ...)``: the results in order. ``timeout`` is in seconds from this call."""
    return executor.map(func, *iterables, timeout=timeout, chunksize=chunksize)


def run(
    func: Callable[..., T],
    /,
    *args: Any,
    mode: Mode = "auto",
    executor: Executor | None = None,
    cpu_bound: bool | None = None,
    io_bound: bool | None = None,
    prefers_subinterpreters: bool | None = None,
    max_workers: int | None = None,
    **kwargs: Any,
) -> T:
    """Run ``func`` on a shared executor and wait for its result. Deprecated: use `Run`."""
    warnings.warn("unirun.run is deprecated; use the Run context manager instead", DeprecationWarning, stacklevel=2)
    chosen = get_executor(
        mode,
        executor=executor,
        cpu_bound=cpu_bound,
        io_bound=io_bound,
        prefers_subinterpreters=prefers_subinterpreters,
        max_workers=max_workers,
    )
    return chosen.submit(func, *args, **kwargs).result()
