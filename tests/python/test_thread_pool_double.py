"""Thread pools, native and standard: what one does the other does, message for message."""

from __future__ import annotations

import concurrent.futures
import contextvars
import gc
import re
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from unirun.executors.threads import ThreadPoolExecutor

LONG = 30.0
KINDS = (concurrent.futures.ThreadPoolExecutor, ThreadPoolExecutor)
MakePool = Callable[..., concurrent.futures.ThreadPoolExecutor]


@pytest.fixture(params=KINDS, ids=["standard", "native"])
def make_pool(request: pytest.FixtureRequest) -> Iterator[MakePool]:
    """A function that makes a pool of one kind; all are shut down after the test."""
    pools: list[concurrent.futures.ThreadPoolExecutor] = []

    def make(max_workers: int | None = 2, **members: Any) -> concurrent.futures.ThreadPoolExecutor:
        pools.append(request.param(max_workers, **members))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()


def told(error: BaseException | None) -> tuple[type[BaseException], str]:
    assert error is not None
    return type(error), str(error)


class Odd(Exception):
    """Nobody else raises it."""


def fail(error: BaseException) -> None:
    raise error


class Gate:
    """A task that has begun, and ends when it is let go."""

    def __init__(self, pool: concurrent.futures.ThreadPoolExecutor) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()
        self.future: concurrent.futures.Future[bool] = pool.submit(self._stand)
        assert self.begun.wait(LONG)

    def _stand(self) -> bool:
        self.begun.set()
        return self.opened.wait(LONG)


# ---- Calls and outcomes ----


def test_the_result_is_the_object_that_the_function_returned(make_pool: MakePool) -> None:
    value = object()
    assert make_pool().submit(lambda: value).result(LONG) is value


def test_the_exception_is_the_object_that_the_function_raised(make_pool: MakePool) -> None:
    error = Odd("why")
    future = make_pool().submit(fail, error)
    assert future.exception(LONG) is error
    with pytest.raises(Odd) as caught:
        future.result(LONG)
    assert caught.value is error


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), StopIteration(1)], ids=repr)
def test_whatever_a_task_raises_is_its_outcome_and_its_thread_lives_on(
    make_pool: MakePool, error: BaseException
) -> None:
    pool = make_pool(1)
    assert pool.submit(fail, error).exception(LONG) is error
    assert pool.submit(abs, -1).result(LONG) == 1
    assert len(pool._threads) == 1


def test_a_traceback_names_the_function_that_raised(make_pool: MakePool) -> None:
    error = make_pool().submit(fail, Odd()).exception(LONG)
    assert error is not None
    frames = []
    traceback = error.__traceback__
    while traceback is not None:
        frames.append(traceback.tb_frame.f_code.co_name)
        traceback = traceback.tb_next
    assert frames[-1] == "fail"


def test_something_that_cannot_be_called_fails_in_the_future(make_pool: MakePool) -> None:
    error = make_pool().submit(3).exception(LONG)  # type: ignore[arg-type]
    assert told(error) == (TypeError, "'int' object is not callable")


def test_arguments_that_do_not_fit_fail_in_the_future(make_pool: MakePool) -> None:
    error = make_pool().submit(fail).exception(LONG)  # type: ignore[call-arg]
    assert told(error) == (TypeError, "fail() missing 1 required positional argument: 'error'")


def test_names_of_its_own_parameters_are_free_for_the_function(make_pool: MakePool) -> None:
    assert make_pool().submit(dict, self=1, fn=2, executor=3).result(LONG) == {"self": 1, "fn": 2, "executor": 3}


def test_submit_takes_its_function_by_place_only(make_pool: MakePool) -> None:
    pool = make_pool()
    with pytest.raises(TypeError, match=r"submit\(\) missing 1 required positional argument: 'fn'"):
        pool.submit()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match=r"submit\(\) missing 1 required positional argument: 'fn'"):
        pool.submit(fn=abs)  # type: ignore[call-arg]


# ---- Futures ----


def test_a_future_tells_its_states(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    queued, dropped = pool.submit(abs, -1), pool.submit(abs, -2)
    assert (gate.future.running(), gate.future.done(), gate.future.cancelled()) == (True, False, False)
    assert (queued.running(), queued.done(), queued.cancelled()) == (False, False, False)
    assert dropped.cancel() and (dropped.running(), dropped.done(), dropped.cancelled()) == (False, True, True)
    assert not gate.future.cancel()
    assert [future._state for future in (gate.future, queued, dropped)] == ["RUNNING", "PENDING", "CANCELLED"]
    gate.opened.set()
    assert queued.result(LONG) == 1 and not queued.cancel()
    assert (queued.running(), queued.done(), queued.cancelled(), queued._state) == (False, True, False, "FINISHED")


def test_how_futures_show_themselves(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    queued, dropped = pool.submit(abs, -1), pool.submit(abs, -2)
    dropped.cancel()
    shown = [re.sub("0x[0-9a-f]+", "ADDRESS", repr(future)) for future in (gate.future, queued, dropped)]
    assert shown == [f"<Future at ADDRESS state={state}>" for state in ("running", "pending", "cancelled")]
    gate.opened.set()
    failed = pool.submit(fail, Odd())
    assert queued.result(LONG) == 1 and failed.exception(LONG)
    shown = [re.sub("0x[0-9a-f]+", "ADDRESS", repr(future)) for future in (queued, failed)]
    assert shown == ["<Future at ADDRESS state=finished returned int>", "<Future at ADDRESS state=finished raised Odd>"]


def test_who_asks_a_cancelled_future_is_told_so(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    future = pool.submit(abs, -1)
    assert future.cancel() and future.cancel()
    for ask in (future.result, future.exception):
        with pytest.raises(concurrent.futures.CancelledError) as caught:
            ask(LONG)
        assert caught.value.args == ()
    gate.opened.set()


@pytest.mark.parametrize("timeout", [0, 0.01, -1, -0.0])
def test_a_wait_that_is_too_short_raises_timeout_error(make_pool: MakePool, timeout: float) -> None:
    gate = Gate(make_pool(1))
    for ask in (gate.future.result, gate.future.exception):
        with pytest.raises(TimeoutError) as caught:
            ask(timeout)
        assert told(caught.value) == (concurrent.futures.TimeoutError, "")
    gate.opened.set()
    assert gate.future.result(LONG) is True


def test_callbacks_are_called_in_order_by_the_thread_of_the_task_and_later_ones_at_once(make_pool: MakePool) -> None:
    gate = Gate(make_pool(1, thread_name_prefix="of-the-task"))
    heard: list[tuple[int, str]] = []
    all_heard = threading.Event()
    for number in range(3):
        gate.future.add_done_callback(lambda _, n=number: heard.append((n, threading.current_thread().name)))  # type: ignore[misc]
    gate.future.add_done_callback(lambda _: all_heard.set())
    gate.opened.set()
    assert all_heard.wait(LONG)
    assert heard == [(number, "of-the-task_0") for number in range(3)]
    gate.future.add_done_callback(lambda _: heard.append((3, threading.current_thread().name)))
    assert heard[-1] == (3, threading.current_thread().name)


def test_a_callback_hears_of_a_cancellation_in_the_thread_that_cancels(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    future = pool.submit(abs, -1)
    heard: list[tuple[bool, int]] = []
    future.add_done_callback(lambda it: heard.append((it.cancelled(), threading.get_ident())))
    future.cancel()
    assert heard == [(True, threading.get_ident())]
    gate.opened.set()


def test_wait_and_as_completed_tell_what_is_done(make_pool: MakePool) -> None:
    pool = make_pool(2)
    gate = Gate(pool)
    quick = pool.submit(lambda: True)
    done, waiting = concurrent.futures.wait([gate.future, quick], LONG, concurrent.futures.FIRST_COMPLETED)
    assert done == {quick} and waiting == {gate.future}
    ended = concurrent.futures.as_completed([gate.future, quick], LONG)
    assert next(ended) is quick
    gate.opened.set()
    assert next(ended) is gate.future and list(ended) == []


# ---- The pool ----


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused(make_pool: MakePool, size: int) -> None:
    with pytest.raises(ValueError, match=r"^max_workers must be greater than 0$"):
        make_pool(size)


def test_an_initializer_that_cannot_be_called_is_refused(make_pool: MakePool) -> None:
    with pytest.raises(TypeError, match=r"^initializer must be a callable$"):
        make_pool(1, initializer=3)


def test_the_size_without_one_is_that_of_the_standard_library() -> None:
    with KINDS[0]() as standard, KINDS[1]() as native:
        assert native._max_workers == standard._max_workers >= 5


def test_threads_bear_the_names_that_were_asked_for(make_pool: MakePool) -> None:
    pool = make_pool(3, thread_name_prefix="mine")
    gates = [Gate(pool) for _ in range(3)]
    assert sorted(thread.name for thread in pool._threads) == ["mine_0", "mine_1", "mine_2"]
    for gate in gates:
        gate.opened.set()
    unnamed = make_pool(1)
    unnamed.submit(abs, 1).result(LONG)
    assert re.fullmatch(r"ThreadPoolExecutor-\d+_0", next(iter(unnamed._threads)).name)


def test_as_many_threads_as_tasks_that_block_and_no_more_than_allowed(make_pool: MakePool) -> None:
    pool = make_pool(3)
    sizes = []
    gates = []
    for _ in range(3):
        gates.append(Gate(pool))
        sizes.append(len(pool._threads))
    queued = pool.submit(abs, -1)
    assert sizes == [1, 2, 3] and len(pool._threads) == 3 and not queued.done()
    for gate in gates:
        gate.opened.set()
    assert queued.result(LONG) == 1


def test_shutdown_finishes_what_is_queued_and_takes_no_more(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    queued = pool.submit(abs, -1)
    pool.shutdown(wait=False)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(abs, 1)
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.map(abs, [1])
    gate.opened.set()
    pool.shutdown()
    assert queued.result(0) == 1 and not any(thread.is_alive() for thread in pool._threads)
    pool.shutdown()


def test_shutdown_that_cancels_leaves_what_runs(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    queued = [pool.submit(abs, -1) for _ in range(3)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in queued) and gate.future.running()
    gate.opened.set()
    assert gate.future.result(LONG) is True


def test_leaving_the_block_waits_for_what_was_submitted(make_pool: MakePool) -> None:
    with make_pool(2) as pool:
        futures = [pool.submit(abs, -number) for number in range(100)]
    assert all(future.done() for future in futures)


def test_an_initializer_that_raises_breaks_the_pool_in_these_words(
    make_pool: MakePool, caplog: pytest.LogCaptureFixture
) -> None:
    pool = make_pool(1, initializer=fail, initargs=(Odd("no"),))
    words = "A thread initializer failed, the thread pool is not usable anymore"
    assert told(pool.submit(abs, 1).exception(LONG)) == (concurrent.futures.thread.BrokenThreadPool, words)
    with pytest.raises(concurrent.futures.thread.BrokenThreadPool, match=words):
        pool.submit(abs, 1)
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("CRITICAL", "Exception in initializer:")
    ]


def test_the_context_of_a_task(make_pool: MakePool) -> None:
    """A thread has a context of its own, and what one task sets the next one finds, in both."""
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")
    variable.set("the caller's")
    pool = make_pool(1)
    seen = [pool.submit(variable.get).result(LONG)]
    pool.submit(variable.set, "a task's").result(LONG)
    seen.append(pool.submit(variable.get).result(LONG))
    inherits = getattr(sys.flags, "thread_inherit_context", False)
    assert seen == ["the caller's" if inherits else "nothing", "a task's"]


def test_a_task_may_submit_and_a_callback_too(make_pool: MakePool) -> None:
    pool = make_pool(2)
    assert pool.submit(lambda: pool.submit(abs, -1).result(LONG)).result(LONG) == 1
    second: list[concurrent.futures.Future[int]] = []
    submitted = threading.Event()

    def go_on(_: object) -> None:
        second.append(pool.submit(abs, -2))
        submitted.set()

    pool.submit(abs, -1).add_done_callback(go_on)
    assert submitted.wait(LONG) and second[0].result(LONG) == 2


@pytest.mark.parametrize("kind", KINDS, ids=["standard", "native"])
def test_a_pool_that_is_dropped_does_what_is_queued(kind: MakePool) -> None:
    pool = kind(1)
    gate = Gate(pool)
    queued = pool.submit(abs, -1)
    threads = list(pool._threads)
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    gate.opened.set()
    assert queued.result(LONG) == 1
    for thread in threads:
        thread.join(LONG)
        assert not thread.is_alive()


# ---- map ----


def test_map_takes_several_iterables_and_ends_with_the_shortest(make_pool: MakePool) -> None:
    assert list(make_pool().map(pow, [2, 3, 4], [5, 2], timeout=LONG)) == [32, 9]


def test_map_is_a_generator_that_asks_for_everything_at_once(make_pool: MakePool) -> None:
    taken: list[int] = []
    results = make_pool().map(abs, (taken.append(number) or -number for number in range(5)))  # type: ignore[func-returns-value]
    assert taken == list(range(5)) and type(results).__name__ == "generator"
    assert list(results) == list(range(5))


def test_map_raises_where_the_exception_stands_and_is_over_then(make_pool: MakePool) -> None:
    results = make_pool(1).map(lambda number: 10 // number, [5, 2, 0, 1])
    assert [next(results), next(results)] == [2, 5]
    with pytest.raises(ZeroDivisionError):
        next(results)
    assert list(results) == []


def test_map_gives_up_after_its_timeout(make_pool: MakePool) -> None:
    pool = make_pool(1)
    gate = Gate(pool)
    results = pool.map(abs, [1], timeout=0.01)
    with pytest.raises(TimeoutError) as caught:
        next(results)
    assert told(caught.value) == (concurrent.futures.TimeoutError, "")
    gate.opened.set()


def test_map_over_something_that_cannot_be_iterated_is_refused(make_pool: MakePool) -> None:
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        make_pool().map(abs, 3)  # type: ignore[arg-type]
