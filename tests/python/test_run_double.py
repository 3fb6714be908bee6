"""Run beside the standard library: the same program on the standard pool and on ours ends the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from scopes import PATIENCE, fresh
from unirun import Run, RuntimeConfig
from unirun.scope import Flavor
from unirun.workloads import count_primes

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]

Open = Callable[[int], AbstractContextManager[Executor]]


def by_run(flavor: Flavor, engine: Any = None) -> Open:
    return lambda size: Run(flavor=flavor, max_workers=size, config=RuntimeConfig(engine=engine))


@contextmanager
def provided(size: int) -> Iterator[Executor]:
    with ThreadPoolExecutor(size) as mine, Run(executor=mine) as executor:
        yield executor


THREADS: dict[str, Open] = {
    "standard": ThreadPoolExecutor,
    "run": by_run("threads"),
    "run-plain": by_run("threads", "stdlib"),
    "run-auto": by_run("auto"),
    "run-provided": provided,
}
BOTH: dict[str, Open] = {
    **THREADS,
    "processes": ProcessPoolExecutor,
    "run-processes": by_run("processes"),
    "run-plain-processes": by_run("processes", "stdlib"),
}


@pytest.fixture(params=BOTH)
def opens(request: pytest.FixtureRequest) -> Open:
    return BOTH[request.param]


@pytest.fixture(params=THREADS)
def opens_threads(request: pytest.FixtureRequest) -> Open:
    return THREADS[request.param]


def fail(text: str) -> None:
    raise KeyError(text)


def test_results_come_back(opens: Open) -> None:
    with opens(2) as executor:
        futures = [executor.submit(count_primes, limit) for limit in (10, 100, 1000)]
        assert all(isinstance(future, Future) for future in futures)
        assert [future.result(PATIENCE) for future in futures] == [4, 25, 168]


def test_exceptions_come_back(opens: Open) -> None:
    with opens(1) as executor:
        future = executor.submit(fail, "mine")
        with pytest.raises(KeyError, match="mine"):
            future.result(PATIENCE)
        assert repr(future.exception()) == "KeyError('mine')"


def test_keywords_are_passed(opens: Open) -> None:
    with opens(1) as executor:
        assert executor.submit(int, "101", base=2).result(PATIENCE) == 5


def test_map_keeps_the_order_and_raises_where_the_fault_is(opens: Open) -> None:
    with opens(2) as executor:
        assert list(executor.map(pow, [2, 3, 4], [5, 4, 3], timeout=PATIENCE)) == [32, 81, 64]
        results = executor.map(int, ["1", "no number", "3"], timeout=PATIENCE)
        assert next(results) == 1
        with pytest.raises(ValueError, match="invalid literal"):
            next(results)


def test_wait_and_as_completed_take_the_futures(opens: Open) -> None:
    with opens(2) as executor:
        futures = [executor.submit(abs, -number) for number in range(5)]
        assert {future.result() for future in as_completed(futures, PATIENCE)} == set(range(5))
        assert wait(futures, PATIENCE, ALL_COMPLETED) == (set(futures), set())
        failing = executor.submit(fail, "mine")
        assert failing in wait([failing], PATIENCE, FIRST_EXCEPTION).done
        assert wait(futures, PATIENCE, FIRST_COMPLETED).done == set(futures)


def test_callbacks_are_called_in_order(opens: Open) -> None:
    called: list[int] = []
    over = threading.Event()
    with opens(1) as executor:
        future = executor.submit(abs, -1)
        for number in range(3):
            future.add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc]
        future.add_done_callback(lambda _: over.set())
        assert over.wait(PATIENCE)
    assert called == [0, 1, 2]


def test_submit_after_the_end_is_refused_with_the_same_words(opens: Open) -> None:
    with opens(1) as executor:
        pass
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        executor.submit(abs, -1)


def test_the_end_waits_for_everything(opens_threads: Open) -> None:
    ended: list[int] = []

    def work(number: int) -> None:
        time.sleep(0.001)
        ended.append(number)

    with opens_threads(2) as executor:
        for number in range(10):
            executor.submit(work, number)
    assert sorted(ended) == list(range(10))


def test_what_waits_can_be_cancelled_and_what_runs_cannot(opens_threads: Open) -> None:
    runs, may_end = threading.Event(), threading.Event()

    def block() -> bool:
        runs.set()
        return may_end.wait(PATIENCE)

    with opens_threads(1) as executor:
        running, waiting = executor.submit(block), executor.submit(int)
        assert runs.wait(PATIENCE)
        assert (running.cancel(), waiting.cancel()) == (False, True)
        assert (running.running(), waiting.cancelled()) == (True, True)
        may_end.set()
        with pytest.raises(CancelledError):
            waiting.result(PATIENCE)
        assert running.result(PATIENCE)


def test_a_task_may_submit_another(opens_threads: Open) -> None:
    with opens_threads(2) as executor:
        assert executor.submit(lambda: executor.submit(abs, -7)).result(PATIENCE).result(PATIENCE) == 7


def test_a_size_below_one_is_the_same_error(opens: Open) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"), opens(0):
        pass


def test_asyncio_takes_the_executor(opens: Open) -> None:
    async def use(executor: Executor) -> list[int]:
        loop = asyncio.get_running_loop()
        wrapped = asyncio.wrap_future(executor.submit(abs, -3))
        return [await loop.run_in_executor(executor, abs, -2), await wrapped]

    with opens(1) as executor:
        assert asyncio.run(use(executor)) == [2, 3]
