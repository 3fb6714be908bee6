"""The native interpreter pool does what the standard one does."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent import futures
from functools import partial
from typing import Any

import pytest

import interpreter_tasks as tasks
from interpreter_pools import import_pools

InterpreterPoolExecutor = import_pools().InterpreterPoolExecutor
STANDARD: Any = getattr(futures, "InterpreterPoolExecutor")  # noqa: B009  Unknown below 3.14.
SOON = 30.0


def outcome(pool_class: Any, *call: Any, **keywords: Any) -> Any:
    """What a task ends with, as far as a program can tell one pool from the other."""
    with pool_class(1) as pool:
        future = pool.submit(*call, **keywords)
        error = future.exception(SOON)
        if error is None:
            return future.result()
    cause = error.__cause__
    excinfo = getattr(cause, "excinfo", None)
    told = None if excinfo is None else (vars(excinfo.type), excinfo.msg, excinfo.formatted)
    return type(error), error.args if excinfo else None, type(cause) if excinfo else None, told


def closure() -> Callable[[], int]:
    outside = 1
    return lambda: outside


@pytest.mark.parametrize(
    "call",
    [
        (pow, 2, 10),
        (pow, 2, -1),
        (int, "12"),
        (sorted, [3, 1, 2]),
        ("abc".upper,),
        (partial(pow, 2), 5),
        (lambda: 7,),
        (len, memoryview(b"abc")),
        (int, "x"),
        (int, [1]),
        (divmod, 1, 0),
        (sys.exit, 3),
        (str, b"x", "no-such-encoding"),
        (closure(),),
        (len, threading.Lock()),
        (len, tasks.Traitor()),
        (threading.Lock,),
        (3,),
    ],
    ids=repr,
)
def test_a_task_ends_as_in_the_standard_pool(call: tuple[Any, ...]) -> None:
    assert outcome(InterpreterPoolExecutor, *call) == outcome(STANDARD, *call)


def test_keywords_go_as_in_the_standard_pool() -> None:
    for keywords in ({"base": 16}, {"no": 1}):
        assert outcome(InterpreterPoolExecutor, int, "ff", **keywords) == outcome(STANDARD, int, "ff", **keywords)


def test_the_class_is_a_standard_one() -> None:
    assert issubclass(InterpreterPoolExecutor, STANDARD)
    assert InterpreterPoolExecutor.BROKEN is STANDARD.BROKEN
    assert InterpreterPoolExecutor.__name__ == STANDARD.__name__


@pytest.mark.parametrize("arguments", [(0,), (-1,), (2.5,), ("2",)], ids=repr)
def test_a_wrong_size_is_refused_alike(arguments: tuple[Any, ...]) -> None:
    def refusal(pool_class: Any) -> Any:
        try:
            with pool_class(*arguments) as pool:
                return pool._max_workers
        except Exception as error:
            return type(error), str(error)

    assert refusal(InterpreterPoolExecutor) == refusal(STANDARD)


@pytest.mark.parametrize("pool_class", [InterpreterPoolExecutor, STANDARD], ids=["ours", "standard"])
def test_sizes_and_names_are_alike(pool_class: Any) -> None:
    with pool_class() as pool, STANDARD() as standard:
        assert pool._max_workers == standard._max_workers
    with pool_class(1, "named") as pool:
        pool.submit(len, "x").result(SOON)
        assert [thread.name for thread in pool._threads] == ["named_0"]


@pytest.mark.parametrize("pool_class", [InterpreterPoolExecutor, STANDARD], ids=["ours", "standard"])
def test_after_shutdown_a_task_is_refused(pool_class: Any) -> None:
    pool = pool_class(1)
    pool.shutdown()

    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(len, "x")
    pool.shutdown()
