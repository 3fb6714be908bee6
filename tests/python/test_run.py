"""Run: scopes, what they reuse, what they leave open, and what they count."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

import pytest

from scopes import PATIENCE, fresh, in_a_new_process, in_thread
from unirun import (
    DecisionTrace,
    Run,
    RuntimeConfig,
    add_decision_listener,
    configure,
    detect_capabilities,
    get_executor,
    last_decision,
    remove_decision_listener,
    thread_executor,
)
from unirun.config import Engine
from unirun.errors import TaskTimeout, WorkerCrashed
from unirun.executors.threads import ThreadPoolExecutor as NativeThreadPoolExecutor
from unirun.scope import Flavor
from unirun.workloads import count_primes

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]


def is_shut_down(executor: Executor) -> bool:
    try:
        executor.submit(int).result(PATIENCE)
    except RuntimeError as error:
        return "cannot schedule new futures after shutdown" in str(error)
    return False


def wait_once_running(runs: threading.Event, may_end: threading.Event) -> object:
    runs.set()
    return may_end.wait(PATIENCE)


def is_imported(module: str) -> bool:
    return module in sys.modules


# ---- One scope ----


def test_threads_are_a_standard_pool_that_is_shut_down_at_the_end() -> None:
    with Run(flavor="threads", max_workers=2) as executor:
        assert isinstance(executor, ThreadPoolExecutor)
        assert executor.submit(lambda: threading.current_thread()).result(PATIENCE) is not threading.current_thread()
    assert is_shut_down(executor)


def test_processes_are_a_standard_pool_that_is_shut_down_at_the_end() -> None:
    with Run(flavor="processes", max_workers=1) as executor:
        assert isinstance(executor, ProcessPoolExecutor)
        assert executor.submit(count_primes, 10).result(PATIENCE) == 4
    assert is_shut_down(executor)


def test_auto_computes_something() -> None:
    with Run() as executor:
        assert list(executor.map(str, range(3))) == ["0", "1", "2"]


def test_the_end_waits_for_what_was_submitted() -> None:
    done: list[int] = []
    with Run(flavor="threads", max_workers=1) as executor:
        for number in range(5):
            executor.submit(done.append, number)
    assert done == [0, 1, 2, 3, 4]


def test_none_is_the_shared_pool_and_stays_open() -> None:
    with Run(flavor="none") as executor:
        assert executor is thread_executor()
    assert not is_shut_down(executor)


def test_a_provided_executor_is_returned_itself_and_stays_open() -> None:
    with ThreadPoolExecutor(1) as mine:
        scope = Run(flavor="threads", executor=mine)
        with scope as executor:
            assert executor is mine
        assert not is_shut_down(mine)
    assert scope.trace is not None
    assert scope.trace.codes == ("provided",)


def test_the_threads_carry_the_name() -> None:
    with Run(flavor="threads", name="consumer") as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(PATIENCE).startswith("consumer")


def test_an_exception_passes_through_and_the_pool_is_shut_down() -> None:
    kept: list[Executor] = []

    def use() -> None:
        with Run(flavor="threads") as executor:
            kept.append(executor)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        use()
    assert is_shut_down(kept[0])


def test_one_run_is_one_block_at_a_time_and_may_be_opened_again() -> None:
    scope = Run(flavor="threads")
    with scope as first:
        with pytest.raises(RuntimeError, match="open already"):
            scope.__enter__()
        assert first.submit(int).result(PATIENCE) == 0
    with scope as second:
        assert second is not first


def test_leaving_what_was_not_entered_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="not open"):
        Run().__exit__(None, None, None)


# ---- Bad input ----


def test_an_unknown_flavor_is_told_the_choices() -> None:
    with pytest.raises(ValueError, match="'fibers' is not one of auto, threads, processes, interpreters, none"):
        Run(flavor="fibers")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, -1])
def test_a_size_below_one_is_refused_before_anything_is_made(size: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        Run(flavor="threads", max_workers=size)


@pytest.mark.parametrize("wrong", [{"executor": 3}, {"config": {}}, {"trace": "yes"}])
def test_an_argument_of_another_kind_is_refused(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(TypeError, match=f"^{name}: "):
        Run(**wrong)  # type: ignore[arg-type]


def test_a_closed_executor_says_so_at_submit() -> None:
    closed = ThreadPoolExecutor(1)
    closed.shutdown()
    with Run(executor=closed) as executor:
        assert is_shut_down(executor)


# ---- Scopes within scopes ----


def test_an_inner_scope_of_the_same_flavor_uses_the_outer_pool() -> None:
    with Run(flavor="threads", max_workers=2, name="outer") as outer:
        inner = Run(flavor="threads")
        with inner as executor:
            assert executor is outer
        assert not is_shut_down(outer)
    assert inner.trace is not None
    assert inner.trace.codes == ("nested",)
    assert (inner.trace.resolved_mode, inner.trace.max_workers) == ("thread", 2)


@pytest.mark.parametrize(
    "asked", [{"max_workers": 1}, {"name": "mine"}, {"config": RuntimeConfig()}, {"flavor": "none"}, {"flavor": "auto"}]
)
def test_an_inner_scope_that_asks_for_something_gets_its_own(asked: dict[str, object]) -> None:
    with Run(flavor="threads") as outer, Run(**{"flavor": "threads", **asked}) as inner:  # type: ignore[arg-type]
        assert inner is not outer


def test_the_nearest_open_scope_of_the_flavor_is_reused() -> None:
    with (
        Run(flavor="threads", max_workers=1) as first,
        Run(flavor="none"),
        Run(flavor="threads", max_workers=2) as second,
        Run(flavor="none"),
        Run(flavor="threads") as inner,
    ):
        assert inner is second is not first


def test_a_scope_after_a_scope_has_a_pool_of_its_own() -> None:
    with Run(flavor="threads") as first:
        pass
    with Run(flavor="threads") as second:
        assert second is not first


def test_a_closed_scope_is_not_reused_where_its_context_lives_on() -> None:
    with Run(flavor="threads") as first:
        context = copy_context()

    def open_another() -> bool:
        with Run(flavor="threads") as executor:
            return executor is first

    assert context.run(open_another) is False


def test_a_task_with_our_context_gets_another_pool() -> None:
    """A pool of one whose task waits for a task of the same pool would wait for ever."""

    def within() -> int:
        with Run(flavor="threads") as executor:
            return executor.submit(int).result(PATIENCE)

    with Run(flavor="threads", max_workers=1) as executor:
        assert executor.submit(copy_context().run, within).result(PATIENCE) == 0


def test_threads_do_not_see_the_scopes_of_others() -> None:
    found: list[Executor] = []

    def open_one() -> None:
        with Run(flavor="threads") as executor:
            found.append(executor)

    with Run(flavor="threads") as mine, in_thread(open_one):
        pass
    assert found[0] is not mine


# ---- asyncio ----


def test_an_async_scope_gives_an_executor_for_the_loop() -> None:
    async def use() -> Executor:
        async with Run(flavor="threads") as executor:
            loop = asyncio.get_running_loop()
            numbers = await asyncio.gather(*(loop.run_in_executor(executor, int, text) for text in "123"))
            assert numbers == [1, 2, 3]
        return executor

    assert is_shut_down(asyncio.run(use()))


def test_the_loop_goes_on_while_an_async_scope_ends() -> None:
    async def use() -> bool:
        may_end = threading.Event()
        async with Run(flavor="threads", max_workers=1) as executor:
            waiting = executor.submit(may_end.wait, PATIENCE)
            asyncio.get_running_loop().call_later(0.01, may_end.set)  # The scope ends only if this is called.
        return waiting.result(0)

    assert asyncio.run(use())


def test_sibling_tasks_do_not_see_each_others_scopes() -> None:
    async def use() -> None:
        both_are_in = asyncio.Barrier(2)

        async def one() -> Executor:
            async with Run(flavor="threads") as executor:
                await both_are_in.wait()
                return executor

        first, second = await asyncio.gather(one(), one())
        assert first is not second

    asyncio.run(use())


def test_a_child_task_reuses_the_scope_around_it() -> None:
    async def use() -> None:
        async with Run(flavor="threads") as outer:

            async def child() -> Executor:
                async with Run(flavor="threads") as executor:
                    return executor

            assert await asyncio.create_task(child()) is outer

    asyncio.run(use())


def test_cancelled_while_it_ends_it_drops_what_has_not_begun_and_waits_for_the_rest() -> None:
    async def use() -> None:
        runs, may_end = threading.Event(), threading.Event()
        scope = Run(flavor="threads", max_workers=1)

        async def work() -> None:
            async with scope as executor:
                futures.append(executor.submit(wait_once_running, runs, may_end))
                futures.append(executor.submit(int))
                assert await asyncio.to_thread(runs.wait, PATIENCE)
                asyncio.get_running_loop().call_soon(task.cancel)

        futures: list[Future[object]] = []
        task = asyncio.create_task(work())
        while not (len(futures) == 2 and futures[1].cancelled()):
            await asyncio.sleep(0.001)
        assert not task.done()
        may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert futures[0].result() is True

    asyncio.run(asyncio.wait_for(use(), PATIENCE))


# ---- Traces ----


def test_true_logs_the_decision(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="unirun.scheduler")
    scope = Run(flavor="threads", trace=True)
    with scope:
        pass
    assert "scheduler resolved" in caplog.text
    assert scope.trace is last_decision()
    assert scope.trace is not None
    assert scope.trace.resolved_mode == "thread"


def test_a_trace_that_is_given_is_filled_in() -> None:
    trace = DecisionTrace(mode="", hints={}, resolved_mode="", reason="")
    scope = Run(flavor="threads", max_workers=3, name="mine", trace=trace)
    with scope:
        assert scope.trace is trace
    assert (trace.mode, trace.resolved_mode, trace.name, trace.max_workers) == ("thread", "thread", "mine", 3)
    assert trace.codes == ("requested",)


def test_a_function_is_called_with_the_trace() -> None:
    told: list[DecisionTrace] = []
    with Run(flavor="threads", trace=told.append), Run(flavor="threads", trace=told.append):
        pass
    assert [trace.codes for trace in told] == [("requested",), ("nested",)]


def test_a_function_that_fails_is_logged_and_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(trace: DecisionTrace) -> None:
        raise ValueError(trace.mode)

    with Run(flavor="threads", trace=fail) as executor:
        assert executor.submit(int).result(PATIENCE) == 0
    assert "ValueError: thread" in caplog.text


@pytest.mark.parametrize("flavor", ["threads", "auto", "none"])
def test_every_scope_is_told_to_listeners(flavor: Flavor) -> None:
    told: list[DecisionTrace] = []
    add_decision_listener(told.append)
    try:
        with Run(flavor=flavor):
            with Run(flavor=flavor):
                pass
            with thread_executor() as mine, Run(executor=mine):
                pass
    finally:
        remove_decision_listener(told.append)
    assert [trace.codes[-1] for trace in told] == [told[0].codes[-1], "nested", "provided"]


# ---- Interpreters ----


def test_interpreters_that_are_not_there_are_threads_with_a_warning() -> None:
    from unirun import detect_capabilities

    if detect_capabilities().subinterpreters_safe:
        with Run(flavor="interpreters", max_workers=1) as executor:
            assert executor.submit(count_primes, 10).result(PATIENCE) == 4
        return
    scope = Run(flavor="interpreters", max_workers=1)
    with pytest.warns(RuntimeWarning, match="fell back to threads") as caught:
        executor = scope.__enter__()
    with executor:
        assert isinstance(executor, ThreadPoolExecutor)
        assert executor.submit(count_primes, 10).result(PATIENCE) == 4
    scope.__exit__(None, None, None)
    assert caught[0].filename == __file__
    assert scope.trace is not None
    assert scope.trace.resolved_mode == "thread"
    assert "fell back" in scope.trace.reason
    assert scope.trace.codes == ("requested", "fallback")


# ---- What only some pools can do ----


def test_a_worker_that_dies_costs_its_call_alone_where_that_is_asked_for() -> None:
    with Run(flavor="processes", max_workers=1, on_worker_crash="replace") as executor:
        assert isinstance(executor.submit(os._exit, 3).exception(PATIENCE), WorkerCrashed)
        assert executor.submit(int, "7").result(PATIENCE) == 7


def test_a_call_over_its_time_is_ended() -> None:
    configure(RuntimeConfig(task_timeout=0.1))
    with Run(flavor="processes", max_workers=1) as executor:
        assert isinstance(executor.submit(time.sleep, 10 * PATIENCE).exception(PATIENCE), TaskTimeout)
    with Run(flavor="processes", max_workers=1, task_timeout=PATIENCE) as executor:
        assert executor.submit(time.sleep, 0.2).result(PATIENCE) is None


def test_shared_pools_differ_by_what_they_do() -> None:
    usual = get_executor("process", max_workers=1)
    assert get_executor("process", max_workers=1, on_worker_crash="replace") is not usual
    assert get_executor("process", max_workers=1) is usual


def test_an_inner_scope_that_asks_for_more_has_a_pool_of_its_own() -> None:
    with Run(flavor="processes", max_workers=1) as usual, Run(flavor="processes", task_timeout=PATIENCE) as other:
        assert other is not usual


@pytest.mark.skipif(not detect_capabilities().subinterpreters_safe, reason="only where interpreters are safe")
def test_interpreters_import_what_they_are_told_to_before_their_first_task() -> None:
    with Run(flavor="interpreters", max_workers=1, modules=["colorsys"]) as executor:
        assert executor.submit(is_imported, "colorsys").result(PATIENCE)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        ({"flavor": "processes", "on_worker_crash": "cry"}, ValueError, "'cry' is not one of break, replace"),
        ({"flavor": "processes", "task_timeout": 0}, ValueError, "a number of seconds greater than 0, not 0"),
        ({"flavor": "processes", "task_timeout": "2"}, TypeError, "task_timeout must be a number of seconds"),
        ({"flavor": "interpreters", "modules": "json"}, TypeError, "a sequence of names of modules, not 'json'"),
        ({"flavor": "threads", "task_timeout": 1}, ValueError, "task_timeout is for mode 'process'; this is 'thread'"),
        ({"on_worker_crash": "break"}, ValueError, "on_worker_crash is for mode 'process'; this is 'thread': nothing"),
        ({"flavor": "none", "modules": ["json"]}, ValueError, "modules is for mode 'subinterpreter'; this is 'none'"),
        ({"flavor": "processes", "modules": ["json"]}, ValueError, "modules is for mode 'subinterpreter'"),
        ({"executor": Executor(), "task_timeout": 1}, ValueError, "task_timeout: a provided executor is used as it is"),
        (
            {"flavor": "processes", "task_timeout": 1, "config": RuntimeConfig(engine="stdlib")},
            ValueError,
            "task_timeout=1 needs engine='native'; engine='stdlib' is configured",
        ),
    ],
)
def test_what_a_pool_cannot_do_is_refused_before_it_is_made(
    wrong: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Run(**wrong).__enter__()
    with Run(flavor="threads", max_workers=1) as executor:  # Nothing is left open around it.
        assert last_decision().codes == ("requested",)  # type: ignore[union-attr]
        assert executor.submit(int).result(PATIENCE) == 0


# ---- Metrics ----


@pytest.mark.parametrize("engine", [None, "stdlib"], ids=["usual", "plain"])
def test_metrics_count_how_tasks_ended(engine: Engine | None) -> None:
    scope = Run(flavor="threads", max_workers=1, config=RuntimeConfig(engine=engine))
    runs, may_end = threading.Event(), threading.Event()
    with scope as executor:
        executor.submit(wait_once_running, runs, may_end)
        failing = executor.submit(int, "no number")
        cancelled = executor.submit(int)
        assert runs.wait(PATIENCE)
        assert cancelled.cancel()
        now = scope.metrics
        assert (now.submitted, now.running, now.completed, now.failed) == (3, 1, 0, 0)
        assert now.queued + now.cancelled == 2  # A native queue counts what was cancelled when it comes upon it.
        may_end.set()
        assert isinstance(failing.exception(PATIENCE), ValueError)
    end = scope.metrics
    assert (end.submitted, end.completed, end.failed, end.cancelled) == (3, 1, 1, 1)
    assert (end.running, end.queued) == (0, 0)


@pytest.mark.parametrize("engine", [None, "stdlib"], ids=["usual", "plain"])
@pytest.mark.parametrize("flavor", ["threads", "processes"])
def test_metrics_tell_how_long_tasks_waited_and_ran(flavor: Flavor, engine: Engine | None) -> None:
    scope = Run(flavor=flavor, max_workers=1, config=RuntimeConfig(engine=engine))
    with scope as executor:
        for future in [executor.submit(time.sleep, 0.05) for _ in range(2)]:
            future.result(PATIENCE)
    for times in (scope.metrics.wait_seconds, scope.metrics.run_seconds):
        assert times.count == sum(number for _, number in times.buckets) == 2
        assert times.quantile(1.0) == times.max <= times.sum
    assert scope.metrics.run_seconds.max >= 0.05


@pytest.mark.parametrize("engine", [None, "stdlib"], ids=["usual", "plain"])
def test_a_scope_counts_what_was_submitted_within_it(engine: Engine | None) -> None:
    configure(RuntimeConfig(engine=engine))
    outer, inner = Run(flavor="threads"), Run(flavor="threads")
    with outer as executor:
        executor.submit(int).result(PATIENCE)
        with inner as same:
            assert list(same.map(int, "12")) == [1, 2]
            with in_thread(lambda: executor.submit(int, "no number")):
                pass  # That one knows the outer scope's executor, and not that there is an inner scope.
            assert inner.metrics.submitted == 2
        executor.submit(int).result(PATIENCE)
        assert "submit" not in vars(executor) or engine == "stdlib"
    assert (inner.metrics.submitted, inner.metrics.completed, inner.metrics.failed) == (2, 2, 0)
    assert (outer.metrics.submitted, outer.metrics.failed) == (5, 1)


def test_scopes_of_the_shared_pool_count_their_own() -> None:
    async def scope_of(tasks: int) -> int:
        scope = Run(flavor="none")
        async with scope as executor:
            loop = asyncio.get_running_loop()
            await asyncio.gather(*(loop.run_in_executor(executor, int) for _ in range(tasks)))
        return scope.metrics.submitted

    async def both() -> list[int]:
        return list(await asyncio.gather(scope_of(2), scope_of(3)))

    assert asyncio.run(both()) == [2, 3]
    assert "submit" not in vars(thread_executor())


def test_a_scope_left_out_of_turn_counts_no_more() -> None:
    one, other = Run(flavor="none"), Run(flavor="none")
    executor = one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    executor.submit(int).result(PATIENCE)
    other.__exit__(None, None, None)
    assert (one.metrics.submitted, other.metrics.submitted) == (0, 1)
    assert "submit" not in vars(executor)


@pytest.mark.parametrize("make", [ThreadPoolExecutor, NativeThreadPoolExecutor], ids=["plain", "native"])
def test_a_provided_executor_counts_with_a_trace_only(make: type[ThreadPoolExecutor]) -> None:
    with make(1) as mine:
        quiet, counted = Run(executor=mine), Run(executor=mine, trace=True)
        mine.submit(int).result(PATIENCE)
        with quiet, pytest.raises(RuntimeError, match="trace=True"):
            _ = quiet.metrics
        with counted:
            assert mine.submit(int).result(PATIENCE) == 0
        assert counted.metrics.submitted == 1
        assert "submit" not in vars(mine)


def test_there_are_no_metrics_before_the_block() -> None:
    with pytest.raises(RuntimeError, match="not open yet"):
        _ = Run().metrics


# ---- The end of the program ----


def test_shared_pools_end_with_the_program_and_their_work_is_done() -> None:
    done = in_a_new_process(
        "import sys, unirun\n"
        "unirun.thread_executor().submit(sys.stdout.write, 'thread ')\n"  # One write each: print() makes two.
        "with unirun.Run() as executor:\n"
        "    executor.submit(sys.stdout.write, 'scope ')\n"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split()) == ["scope", "thread"]


def test_configure_is_what_auto_follows() -> None:
    configure(RuntimeConfig(force_process=True, max_workers=1))
    with Run() as executor:
        assert isinstance(executor, ProcessPoolExecutor)
