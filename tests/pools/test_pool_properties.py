"""Whatever order tasks are submitted, cancelled and awaited in: each runs once or never, and its future says which."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Executor, Future, as_completed, wait
from itertools import chain
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pool_engines import ENGINES, executor_class, flavors
from pool_tasks import PATIENCE, raise_named, same

pytestmark = pytest.mark.native

EXAMPLES = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def pools() -> list[object]:
    return [pytest.param((engine, flavor), id=f"{engine}-{flavor}") for flavor in flavors() for engine in ENGINES]


@pytest.fixture(params=pools())
def pool(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with executor_class(*request.param)(2) as pool:  # type: ignore[call-arg]
        yield pool


@pytest.fixture(params=ENGINES)
def threads(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with executor_class(request.param, "threads")(2) as pool:  # type: ignore[call-arg]
        yield pool


@EXAMPLES
@given(values=st.lists(st.one_of(st.integers(), st.text(max_size=5), st.none(), st.just(ValueError)), max_size=30))
def test_each_future_is_that_of_its_own_task(pool: Executor, values: list[Any]) -> None:
    def submit(value: Any) -> Future[Any]:
        return pool.submit(raise_named, "ValueError", "no") if value is ValueError else pool.submit(same, value)

    futures = [submit(value) for value in values]
    assert len({id(future) for future in futures}) == len(values)
    completed = list(as_completed(futures, PATIENCE))
    assert len(completed) == len(futures) and set(completed) == set(futures)
    for value, future in zip(values, futures, strict=True):
        if value is ValueError:
            assert repr(future.exception()) == "ValueError('no')"
        else:
            assert future.result() == value and future.exception() is None
    done, pending = wait(futures, 0, FIRST_COMPLETED)
    assert done == set(futures) and not pending


@EXAMPLES
@given(values=st.lists(st.integers(), max_size=40), chunk=st.integers(1, 7), taken=st.integers(0, 40))
def test_map_gives_results_in_order_and_may_be_left(pool: Executor, values: list[int], chunk: int, taken: int) -> None:
    results = pool.map(same, values, chunksize=chunk)
    assert [result for result, _ in zip(results, range(taken), strict=False)] == values[:taken]
    results.close()  # type: ignore[attr-defined]
    assert pool.submit(same, 1).result(PATIENCE) == 1


@EXAMPLES
@given(count=st.integers(1, 60), chosen=st.lists(st.integers(0, 59), max_size=60), cancellers=st.integers(1, 3))
def test_however_threads_cancel_a_task_runs_once_or_never(
    threads: Executor, count: int, chosen: list[int], cancellers: int
) -> None:
    ran: list[int] = []
    called: list[int] = []
    futures: list[Future[None]] = []
    granted: list[list[int]] = [[] for _ in range(cancellers)]

    def cancel(mine: list[int]) -> None:
        for number in chosen:
            if number < len(futures) and futures[number].cancel():
                mine.append(number)

    race = [threading.Thread(target=cancel, args=(mine,)) for mine in granted]
    for thread in race:
        thread.start()
    for number in range(count):
        futures.append(threads.submit(ran.append, number))
        futures[-1].add_done_callback(lambda _, number=number: called.append(number))  # type: ignore[misc]
    for thread in race:
        thread.join(PATIENCE)
    done, pending = wait(futures, PATIENCE)
    assert not pending and len(done) == count
    cancelled = [number for number, future in enumerate(futures) if future.cancelled()]
    assert sorted([*ran, *cancelled]) == list(range(count))
    assert set(chain(*granted)) == set(cancelled)
    # Callbacks come after wait() was told, in the worker: one task more on each worker, and they have all come.
    barrier = threading.Barrier(3)
    both = [threads.submit(barrier.wait, PATIENCE) for _ in range(2)]
    barrier.wait(PATIENCE)
    wait(both, PATIENCE)
    assert sorted(called) == list(range(count))


@EXAMPLES
@given(count=st.integers(1, 50))
def test_one_worker_takes_tasks_in_order(count: int) -> None:
    for engine in ENGINES:
        ran: list[int] = []
        with executor_class(engine, "threads")(1) as pool:  # type: ignore[call-arg]
            for number in range(count):
                pool.submit(ran.append, number)
        assert ran == list(range(count))


def test_tasks_of_many_threads_all_arrive(pool: Executor) -> None:
    results: list[list[int]] = [[] for _ in range(4)]

    def submit(mine: list[int]) -> None:
        futures = [pool.submit(same, number) for number in range(2_000)]
        mine.extend(future.result(PATIENCE) for future in futures)

    callers = [threading.Thread(target=submit, args=(mine,)) for mine in results]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(4 * PATIENCE)
    assert results == [list(range(2_000))] * 4
