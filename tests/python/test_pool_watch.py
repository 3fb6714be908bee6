"""Who waits for it is told of the next change of a pool's statistics, and of one only."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pytest

from unirun.executors import processes, threads
from unirun.executors.counting import count

Watch = Callable[[int], object]


def native_pools() -> list[type[Executor]]:
    pools: list[type[Executor]] = [threads.ThreadPoolExecutor, processes.ProcessPoolExecutor]
    if sys.version_info >= (3, 14):
        from unirun.executors.interpreters import InterpreterPoolExecutor

        pools.append(InterpreterPoolExecutor)
    return pools


@pytest.fixture(params=[*native_pools(), ThreadPoolExecutor])
def pool(request: pytest.FixtureRequest) -> Iterator[tuple[Executor, Watch]]:
    """A pool that has done a task, and what has a bell rung for it."""
    make: Any = request.param
    with make(1) as executor:
        watch: Watch = executor._watch if hasattr(executor, "_watch") else count(executor)._watch
        executor.submit(abs, -1).result()
        yield executor, watch


@pytest.fixture
def bell() -> Iterator[int]:
    descriptor = os.eventfd(0, os.EFD_NONBLOCK)
    yield descriptor
    os.close(descriptor)


def test_the_next_change_rings_the_bell_once(pool: tuple[Executor, Watch], bell: int) -> None:
    executor, watch = pool
    watch(bell)
    assert [executor.submit(abs, -number).result() for number in range(10)] == list(range(10))
    executor.shutdown()
    assert os.eventfd_read(bell) == 1


def test_the_end_of_a_task_rings_too(pool: tuple[Executor, Watch], bell: int) -> None:
    executor, watch = pool
    future = executor.submit(abs, -2)
    watch(bell)
    executor.submit(abs, -3).cancel()
    future.result()
    executor.shutdown()
    assert os.eventfd_read(bell) == 1


def test_a_bell_that_was_taken_away_is_not_rung(pool: tuple[Executor, Watch], bell: int) -> None:
    executor, watch = pool
    watch(bell)
    watch(-1)
    executor.submit(abs, -1).result()
    executor.shutdown()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(bell)
