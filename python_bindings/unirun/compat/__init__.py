"""`concurrent.futures` and `asyncio` by the same names, on unirun's engines.

    from unirun.compat.concurrent import futures
    from unirun.compat import asyncio, ThreadPoolExecutor

``UNIRUN_COMPAT_MODE=passthrough`` makes every one of these names the standard library's own object.
See docs/compat.md.
"""

from __future__ import annotations

import os

from unirun.compat import _mirror

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import (
        ALL_COMPLETED,
        FIRST_COMPLETED,
        FIRST_EXCEPTION,
        BrokenExecutor,
        CancelledError,
        Executor,
        Future,
        InvalidStateError,
        ProcessPoolExecutor,
        ThreadPoolExecutor,
        TimeoutError,  # noqa: A004
        as_completed,
        wait,
    )
    from typing import Any

    from unirun.compat import asyncio, concurrent
    from unirun.compat.loops import run_in_executor, to_thread

    __all__ = [
        "ALL_COMPLETED",
        "FIRST_COMPLETED",
        "FIRST_EXCEPTION",
        "BrokenExecutor",
        "CancelledError",
        "Executor",
        "Future",
        "InvalidStateError",
        "ProcessPoolExecutor",
        "ThreadPoolExecutor",
        "TimeoutError",
        "as_completed",
        "asyncio",
        "concurrent",
        "run_in_executor",
        "to_thread",
        "wait",
    ]

PACKAGES = ("asyncio", "concurrent")
OF_ASYNCIO = ("run_in_executor", "to_thread")

_mirror.begin()


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in PACKAGES:
        return import_module(f"unirun.compat.{name}")
    if name in OF_ASYNCIO:
        return getattr(import_module("unirun.compat.asyncio"), name)
    if name == "__all__" or not name.startswith("_"):
        futures = import_module("unirun.compat.concurrent.futures")
        if name == "__all__":
            return sorted({*futures.__all__, *PACKAGES, *OF_ASYNCIO})
        if hasattr(futures, name):
            return getattr(futures, name)
    raise AttributeError(f"module 'unirun.compat' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})


if "UNIRUN_COMPAT_RECORD" in os.environ:
    from unirun.compat import record

    record.begin()
