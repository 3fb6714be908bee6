"""The scheduler: what it chooses, what it shares, what it leases, and what it does when nothing starts."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import warnings
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextvars import ContextVar
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

import unirun
from scopes import PATIENCE, fresh, in_a_new_process
from unirun import RuntimeCapabilities, RuntimeConfig, detect_capabilities, scheduler
from unirun.config import Mode
from unirun.executors import pools
from unirun.scheduler import Scheduler, choose, get_executor, lease_executor
from unirun.workloads import count_primes

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]

GIL = replace(detect_capabilities(), gil_enabled=True)
NO_GIL = replace(detect_capabilities(), gil_enabled=False)


# ---- The choice ----


@pytest.mark.parametrize(
    ("mode", "config", "capabilities", "resolved", "code"),
    [
        ("auto", {}, GIL, "thread", "default"),
        ("auto", {}, NO_GIL, "thread", "free_threaded"),
        ("auto", {"cpu_bound": True}, GIL, "process", "cpu_bound"),
        ("auto", {"cpu_bound": True}, NO_GIL, "thread", "cpu_bound_nogil"),
        ("auto", {"cpu_bound": True, "io_bound": True}, GIL, "process", "cpu_bound"),
        ("auto", {"io_bound": True}, GIL, "thread", "io_bound"),
        ("auto", {"io_bound": True, "thread_mode": "gil"}, GIL, "thread", "io_bound"),
        ("auto", {"thread_mode": "gil"}, NO_GIL, "process", "thread_mode_gil"),
        ("auto", {"thread_mode": "gil", "cpu_bound": True}, NO_GIL, "process", "thread_mode_gil"),
        ("auto", {"thread_mode": "nogil", "cpu_bound": True}, GIL, "thread", "thread_mode_nogil"),
        (
            "auto",
            {"prefers_subinterpreters": True, "cpu_bound": True},
            GIL,
            "subinterpreter",
            "prefers_subinterpreters",
        ),
        ("auto", {"auto": False, "cpu_bound": True}, GIL, "none", "automation_off"),
        ("auto", {"auto": False, "mode": "process"}, GIL, "process", "pinned"),
        ("auto", {"mode": "process", "io_bound": True}, GIL, "process", "pinned"),
        ("auto", {"force_threads": True, "mode": "process"}, GIL, "thread", "forced_threads"),
        ("auto", {"force_process": True, "mode": "thread"}, GIL, "process", "forced_process"),
        ("auto", {"force_process": True, "force_threads": True}, GIL, "thread", "forced_threads"),
        ("process", {"force_threads": True, "auto": False}, GIL, "process", "requested"),
        ("none", {"cpu_bound": True}, GIL, "none", "requested"),
    ],
)
def test_the_choice(
    mode: Mode, config: dict[str, Any], capabilities: RuntimeCapabilities, resolved: str, code: str
) -> None:
    assert choose(mode, RuntimeConfig(**config), capabilities) == (resolved, code)


def test_a_hint_of_the_call_goes_before_the_configuration() -> None:
    mine = Scheduler(config=RuntimeConfig(cpu_bound=True))
    lease = mine.lease_executor(cpu_bound=False, max_workers=1)
    assert isinstance(lease.executor, ThreadPoolExecutor)
    lease.executor.shutdown()
    assert lease.trace.hints == {"cpu_bound": False, "max_workers": 1}


def test_an_unknown_mode_or_hint_is_told_the_choices() -> None:
    with pytest.raises(ValueError, match="'fibers' is not one of auto, thread, process, subinterpreter, none"):
        get_executor("fibers")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="'colour' is no hint; there are executor, max_workers, name, cpu_bound"):
        get_executor(colour="red")  # type: ignore[call-arg]


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_size_that_is_none_is_the_standard_error(mode: Mode) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        lease_executor(mode, max_workers=-1)
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        get_executor(mode, max_workers=0)


# ---- Shared executors ----


def test_the_shared_pools_are_the_same_each_time() -> None:
    assert get_executor("thread") is unirun.thread_executor() is get_executor("none") is get_executor()
    assert get_executor("process") is unirun.process_executor()
    assert unirun.thread_executor(max_workers=2) is get_executor("thread", max_workers=2)
    assert unirun.thread_executor(max_workers=2) is not unirun.thread_executor(max_workers=3)


def test_forced_threads_are_the_shared_pool() -> None:
    mine = Scheduler(config=RuntimeConfig(force_threads=True))
    assert mine.get_executor() is unirun.thread_executor()
    assert mine.trace is not None
    assert mine.trace.resolved_mode == "thread"
    assert "forced" in mine.trace.reason


def test_the_threads_of_the_shared_pool_carry_its_name() -> None:
    name = unirun.thread_executor().submit(lambda: threading.current_thread().name).result(PATIENCE)
    assert name.startswith("unirun-thread")


def test_a_shared_pool_that_was_shut_down_or_broke_is_replaced() -> None:
    first = unirun.thread_executor()
    first.shutdown()
    assert unirun.thread_executor() is not first
    broken = unirun.process_executor(max_workers=1)
    with pytest.raises(BrokenProcessPool):
        broken.submit(os._exit, 1).result(PATIENCE)
    again = unirun.process_executor(max_workers=1)
    assert again is not broken
    assert again.submit(count_primes, 10).result(PATIENCE) == 4


def test_reset_leaves_nothing_running() -> None:
    done = in_a_new_process(
        "import threading, multiprocessing, unirun\n"
        "if __name__ == '__main__':\n"
        "    futures = [unirun.thread_executor().submit(abs, -1), unirun.process_executor().submit(abs, -1)]\n"
        "    assert [future.result() for future in futures] == [1, 1]\n"
        "    unirun.reset()\n"
        "    unirun.reset()\n"
        "    print(threading.active_count(), multiprocessing.active_children())\n"
        "    print(unirun.thread_executor().submit(abs, -2).result())\n"
    )
    assert (done.stdout, done.stderr) == ("1 []\n2\n", "")


def test_reset_waits_for_what_runs_and_can_drop_what_does_not() -> None:
    runs, may_end = threading.Event(), threading.Event()
    pool = unirun.thread_executor(max_workers=1)
    running = pool.submit(lambda: (runs.set(), may_end.wait(PATIENCE)))  # type: ignore[func-returns-value]
    dropped = pool.submit(int)
    assert runs.wait(PATIENCE)
    dropped.add_done_callback(lambda _: may_end.set())
    unirun.reset(cancel_futures=True)
    assert dropped.cancelled()
    assert running.done()


def test_the_configuration_stays_over_a_reset() -> None:
    unirun.configure(RuntimeConfig(max_workers=3))
    unirun.reset()
    assert scheduler.global_scheduler().config.max_workers == 3
    assert unirun.last_decision() is None


def test_a_forked_child_has_shared_pools_of_its_own() -> None:
    done = in_a_new_process(
        "import os, unirun\n"
        "assert unirun.thread_executor().submit(abs, -1).result() == 1\n"
        "if (child := os.fork()) == 0:\n"
        "    os._exit(unirun.thread_executor().submit(abs, -7).result())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n",
        PYTHONWARNINGS="ignore::DeprecationWarning",
    )
    assert (done.stdout, done.stderr) == ("7\n", "")


# ---- Leases ----


def test_a_lease_is_a_pool_of_its_own() -> None:
    one, other = lease_executor("thread", max_workers=1), lease_executor("thread", max_workers=1)
    assert one.owns_executor
    assert other.owns_executor
    assert one.executor is not other.executor
    one.executor.shutdown()
    other.executor.shutdown()


def test_a_leased_process_pool_is_a_standard_one() -> None:
    lease = lease_executor("process", max_workers=1)
    assert isinstance(lease.executor, ProcessPoolExecutor)
    assert lease.owns_executor
    lease.executor.shutdown()


def test_the_shared_and_the_provided_pool_are_not_the_callers() -> None:
    shared = lease_executor("none")
    assert shared.executor is unirun.thread_executor()
    assert not shared.owns_executor
    with ThreadPoolExecutor(1) as mine:
        provided = lease_executor(executor=mine)
        assert provided.executor is mine
        assert not provided.owns_executor
        assert (provided.trace.resolved_mode, provided.trace.max_workers) == ("provided", None)


# ---- What does not start ----


def fake(name: str, error: Exception) -> ModuleType:
    class Engine(ThreadPoolExecutor):
        def __init__(self, *_: Any, **__: Any) -> None:
            raise error

    module = ModuleType(name)
    module.Engine = Engine  # type: ignore[attr-defined]
    return module


@pytest.mark.parametrize("error", [OSError("no shared memory"), RuntimeError("no thread"), ImportError("no module")])
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_native_engine_that_cannot_start_is_replaced(
    monkeypatch: pytest.MonkeyPatch, kind: Any, error: Exception
) -> None:
    monkeypatch.setitem(sys.modules, "fake_engine", fake("fake_engine", error))
    monkeypatch.setitem(pools.NATIVE, kind, "fake_engine:Engine")
    scope = unirun.Run(flavor="threads" if kind == "thread" else "processes", max_workers=1)
    with pytest.warns(RuntimeWarning, match=f"the native {kind} engine cannot start: {type(error).__name__}") as caught:
        executor = scope.__enter__()
    assert executor.submit(abs, -1).result(PATIENCE) == 1
    scope.__exit__(None, None, None)
    assert caught[0].filename == __file__
    assert type(executor).__module__.startswith("concurrent.futures")
    assert scope.trace is not None
    assert scope.trace.codes == ("requested", "engine_fallback")
    assert "fell back to the standard library's class: the native" in scope.trace.reason


def test_the_plain_engine_asks_for_no_native_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pools.NATIVE, "thread", "no.such.module:Engine")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with unirun.Run(flavor="threads", config=RuntimeConfig(engine="stdlib")) as executor:
            assert type(executor) is ThreadPoolExecutor


def test_a_fault_of_the_caller_is_not_hidden_by_a_fallback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fake_engine", fake("fake_engine", ValueError("mine")))
    monkeypatch.setitem(pools.NATIVE, "thread", "fake_engine:Engine")
    with pytest.raises(ValueError, match="mine"):
        lease_executor("thread", max_workers=1)


# ---- Interpreters ----


def with_interpreters(monkeypatch: pytest.MonkeyPatch, **capabilities: Any) -> Scheduler:
    mine = Scheduler(config=RuntimeConfig())
    found = replace(GIL, supports_subinterpreters=True, subinterpreters_safe=True, python_release="3.x")
    mine._capabilities = replace(found, **capabilities)
    module = ModuleType("fake_engine")
    module.Engine = ThreadPoolExecutor  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "fake_engine", module)
    monkeypatch.setitem(pools.NATIVE, "subinterpreter", "fake_engine:Engine")
    return mine


def test_interpreters_are_used_where_they_are_safe(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = with_interpreters(monkeypatch)
    assert mine.get_executor("subinterpreter").submit(abs, -1).result(PATIENCE) == 1
    assert mine.trace is not None
    assert (mine.trace.resolved_mode, mine.trace.codes) == ("subinterpreter", ("requested",))


@pytest.mark.parametrize(
    ("missing", "why"),
    [
        ({"supports_subinterpreters": False}, "need CPython 3.12 or newer, this is 3.x"),
        ({"subinterpreters_safe": False}, "can corrupt memory before 3.14, this is 3.x; prefers_subinterpreters=True"),
        ({"subinterpreters_safe": False, "gil_enabled": False}, "without the GIL, threads do the same"),
    ],
)
def test_where_they_are_not_threads_take_their_place(
    monkeypatch: pytest.MonkeyPatch, missing: dict[str, bool], why: str
) -> None:
    mine = with_interpreters(monkeypatch, **missing)
    with pytest.warns(RuntimeWarning, match=f"fell back to threads: .*{why}"):
        executor = mine.get_executor("subinterpreter")
    assert executor is unirun.thread_executor()
    assert mine.trace is not None
    assert (mine.trace.resolved_mode, mine.trace.codes) == ("thread", ("requested", "fallback"))


def test_consent_uses_them_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = with_interpreters(monkeypatch, subinterpreters_safe=False)
    with pytest.warns(RuntimeWarning, match="used as asked, but .* can corrupt memory before 3.14"):
        lease = mine.lease_executor(prefers_subinterpreters=True)
    lease.executor.shutdown()
    assert lease.trace.codes == ("prefers_subinterpreters",)


def test_interpreters_that_cannot_start_are_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = with_interpreters(monkeypatch)
    monkeypatch.setitem(sys.modules, "fake_engine", fake("fake_engine", RuntimeError("boom")))
    monkeypatch.setitem(pools.STANDARD, "subinterpreter", "fake_engine:Engine")
    with pytest.warns(RuntimeWarning, match=r"fell back to threads: interpreters cannot start on 3.x: .*boom"):
        lease = mine.lease_executor("subinterpreter", max_workers=1)
    assert isinstance(lease.executor, ThreadPoolExecutor)
    lease.executor.shutdown()
    assert "fell back" in lease.trace.reason


# ---- Functions without a scope ----


def test_submit_and_map_are_those_of_the_executor() -> None:
    executor = unirun.thread_executor()
    assert unirun.submit(executor, int, "101", base=2).result(PATIENCE) == 5
    assert list(unirun.map(executor, pow, [2, 3], [3, 2], timeout=PATIENCE, chunksize=1)) == [8, 9]


def test_run_still_works_and_says_that_it_is_deprecated() -> None:
    with pytest.warns(DeprecationWarning, match=r"unirun.run is deprecated; use the Run") as caught:
        assert unirun.run(int, "101", mode="thread", base=2) == 5
    assert caught[0].filename == __file__


VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="lost")


def test_to_thread_keeps_context_variables_and_takes_keywords() -> None:
    async def use() -> tuple[str, int]:
        VARIABLE.set("kept")
        return await unirun.to_thread(VARIABLE.get), await unirun.to_thread(int, "101", base=2)

    assert asyncio.run(use()) == ("kept", 5)


def test_to_thread_raises_what_the_function_raises() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        asyncio.run(unirun.to_thread(int, "no number"))


def test_to_process_runs_elsewhere() -> None:
    assert asyncio.run(unirun.to_process(os.getpid)) != os.getpid()


def test_wrap_future_is_asyncios() -> None:
    async def use() -> int:
        return await unirun.wrap_future(unirun.thread_executor().submit(abs, -1))

    assert asyncio.run(use()) == 1


# ---- Pickling by value ----


def test_cloudpickle_that_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ValueError, match="pickler='cloudpickle': it is not installed"):
        unirun.Run(flavor="processes", config=RuntimeConfig(pickler="cloudpickle")).__enter__()


def test_a_lambda_is_refused_by_processes_as_the_standard_library_does() -> None:
    with unirun.Run(flavor="processes", max_workers=1) as executor:
        error = executor.submit(lambda: 1).exception(PATIENCE)
    assert type(error).__name__ in ("PicklingError", "AttributeError")


def test_by_value_a_call_is_sent_as_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    import pickle

    module = ModuleType("cloudpickle")
    module.dumps = pickle.dumps  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cloudpickle", module)
    config = RuntimeConfig(pickler="cloudpickle", engine="stdlib")
    with unirun.Run(flavor="processes", max_workers=1, config=config) as executor:
        assert isinstance(executor, ProcessPoolExecutor)
        assert executor.submit(int, "101", base=2).result(PATIENCE) == 5
        assert list(executor.map(count_primes, [10, 100])) == [4, 25]


def test_a_provided_executor_of_any_kind_is_leased() -> None:
    class Own(Executor):
        pass

    mine = Own()
    assert get_executor(executor=mine) is mine
