"""The native process pool: what it does beyond the standard class, under real faults."""

from __future__ import annotations

import asyncio
import concurrent.futures
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import pool_calls
from test_process_pool_double import LONG, wait_for_file, wait_until
from unirun.errors import TaskTimeout, UnirunError, WorkerCrashed
from unirun.executors.processes import ProcessPoolExecutor
from unirun.metrics import COUNTS

MakePool = Callable[..., ProcessPoolExecutor]
METHODS = ("fork", "forkserver", "spawn")


@pytest.fixture
def make_pool() -> Iterator[MakePool]:
    """A function that makes a pool; all are shut down after the test."""
    pools: list[ProcessPoolExecutor] = []

    def make(max_workers: int = 1, method: str | None = "fork", **members: Any) -> ProcessPoolExecutor:
        if method is not None:
            members["mp_context"] = multiprocessing.get_context(method)
        pools.append(ProcessPoolExecutor(max_workers, **members))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()


def is_gone(pid: int) -> bool:
    """Whether no process of this number runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def in_worker_number(pool: ProcessPoolExecutor) -> int:
    pid: int = pool.submit(os.getpid).result(LONG)
    return pid


def start_method(pool: ProcessPoolExecutor) -> str:
    context: Any = pool._mp_context
    return str(context.get_start_method())


# ---- The class ----


def test_it_is_the_standard_class_with_native_futures(make_pool: MakePool) -> None:
    pool = make_pool()
    future = pool.submit(pool_calls.add, 1)
    assert isinstance(pool, concurrent.futures.ProcessPoolExecutor)
    assert isinstance(future, concurrent.futures.Future) and type(future).__name__ == "Future"
    assert future.result(LONG) == 2


@pytest.mark.parametrize("method", METHODS)
def test_every_start_method_is_served_natively(make_pool: MakePool, method: str) -> None:
    pool = make_pool(2, method, initializer=pool_calls.initialize, initargs=(method,))
    assert pool.submit(pool_calls.initialized).result(LONG) == [method]
    assert list(pool.map(pool_calls.add, range(50), range(50))) == list(range(0, 100, 2))
    assert pool._statistics()["completed"] == 51


def test_the_fork_server_has_imported_what_its_workers_need(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        textwrap.dedent(
            """
            import multiprocessing, os
            from unirun.executors.processes import ProcessPoolExecutor

            if __name__ == "__main__":
                multiprocessing.set_forkserver_preload(["__main__", "colorsys"])
                with ProcessPoolExecutor(1, multiprocessing.get_context("forkserver")) as pool:
                    server = pool.submit(os.getppid).result(60)
                    with open(f"/proc/{server}/maps") as maps:
                        assert server != os.getpid() and "_pools" in maps.read()
                print(multiprocessing.forkserver._forkserver._preload_modules)
            """
        )
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=2 * LONG)
    assert (ended.stdout, ended.stderr) == ("['__main__', 'colorsys', 'unirun.executors.process_worker']\n", "")


def test_beside_other_threads_the_default_is_no_fork(make_pool: MakePool) -> None:
    gate = threading.Event()
    thread = threading.Thread(target=gate.wait)
    thread.start()
    try:
        assert start_method(make_pool(method=None)) == "forkserver"
    finally:
        gate.set()
        thread.join()
    replacing = make_pool(method=None, on_worker_crash="replace")
    assert start_method(replacing) == "forkserver"


def test_a_worker_that_is_still_starting_is_not_over_its_time(make_pool: MakePool) -> None:
    pool = make_pool(1, "spawn", task_timeout=0.001)  # No process starts that fast: it would be ended again and again.
    assert isinstance(pool.submit(time.sleep, 10 * LONG).exception(2 * LONG), TaskTimeout)


def test_a_limit_of_calls_per_worker_is_the_standard_machinerys(make_pool: MakePool) -> None:
    pool = make_pool(1, "spawn", max_tasks_per_child=1)
    first, second = (pool.submit(os.getpid).result(LONG) for _ in range(2))
    assert first != second
    pool.submit(pool_calls.fail, ValueError()).exception(LONG)
    told = pool._statistics()
    assert {name: told[name] for name in COUNTS} == {
        "submitted": 3, "completed": 2, "failed": 1, "cancelled": 0, "queued": 0, "running": 0, "workers": 1
    }  # fmt: skip


def test_a_foreign_context_is_the_standard_machinerys_and_says_so() -> None:
    class Foreign:
        def __getattr__(self, name: str) -> Any:
            return getattr(multiprocessing.get_context("spawn"), name)

    with pytest.warns(RuntimeWarning, match="downgraded to stdlib behaviour: mp_context"):
        pool = ProcessPoolExecutor(1, mp_context=Foreign())  # type: ignore[arg-type]
    with pool:
        assert pool.submit(pool_calls.add, 1).result(LONG) == 2


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"on_worker_crash": "ignore"}, "on_worker_crash must be one of break, replace, not 'ignore'"),
        ({"pickler": "marshal"}, "pickler must be one of pickle, cloudpickle, not 'marshal'"),
        ({"task_timeout": 0}, "timeout must be a number of seconds above 0, not 0"),
        ({"task_timeout": -1.5}, "timeout must be a number of seconds above 0"),
        ({"max_restarts": -1}, "max_restarts must be 0 or more"),
        ({"restart_period": 0}, "restart_period a number of seconds above 0"),
        ({"method": "spawn", "max_tasks_per_child": 1, "task_timeout": 1}, "need the native engine"),
    ],
    ids=str,
)
def test_a_wrong_choice_is_refused_with_the_choices(make_pool: MakePool, members: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make_pool(**members)


# ---- Large values ----


@pytest.mark.parametrize("size", [0, 100, 40_000, 300_000, 5_000_000])
def test_a_buffer_comes_back_writable_and_nobody_elses(make_pool: MakePool, size: int) -> None:
    pool = make_pool()
    sent = bytearray(os.urandom(size))
    result = pool.submit(pool_calls.identity, pool_calls.Block(sent)).result(LONG).memory
    again = pool.submit(pool_calls.identity, pool_calls.Block(sent)).result(LONG).memory
    assert result == again == sent and not result.readonly
    if size:
        result[0] ^= 0xFF
        assert result != sent and again == sent


@pytest.mark.parametrize("count", [7, 20], ids=["in the ring", "in a file"])
def test_buffers_share_a_message_and_outlive_their_pool(make_pool: MakePool, count: int) -> None:
    pool = make_pool()
    blocks = [pool_calls.Block(bytes([number]) * 300_001) for number in range(count)]
    kept = pool.submit(pool_calls.identity, {"all": blocks, "last": blocks[-1], "text": "x" * 400_000}).result(LONG)
    pool.shutdown()
    assert [block.memory for block in kept["all"]] == [block.memory for block in blocks]
    assert kept["last"] is kept["all"][-1] and kept["last"].memory.readonly and len(kept["text"]) == 400_000


@pytest.mark.timeout(400)
def test_a_result_of_a_gibibyte(make_pool: MakePool) -> None:
    pool = make_pool()
    result = pool.submit(pool_calls.large_bytes, 1 << 30).result(10 * LONG)
    assert len(result) == 1 << 30 and result.count(0, 0, 4096) == 4096


def test_more_than_a_ring_holds_waits_for_its_turn(make_pool: MakePool) -> None:
    pool = make_pool(2)
    blocks = [bytes([number]) * 1_500_000 for number in range(40)]
    futures = [pool.submit(pool_calls.identity, block) for block in blocks]
    assert [future.result(LONG) for future in futures] == blocks


def test_many_files_in_flight_leave_no_descriptor(make_pool: MakePool) -> None:
    pool = make_pool(1)
    block = bytes(4_500_000)
    assert len(pool.submit(pool_calls.identity, block).result(LONG)) == len(block)
    before = len(os.listdir("/proc/self/fd"))
    futures = [pool.submit(pool_calls.identity, block) for _ in range(40)]
    assert all(len(future.result(LONG)) == len(block) for future in futures)
    assert len(os.listdir("/proc/self/fd")) <= before


# ---- Workers that die ----


def test_only_the_call_of_the_dead_worker_fails(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1, on_worker_crash="replace")
    assert list(pool.map(pool_calls.identity, range(300))) == list(range(300))  # Short calls: many go at once.
    killed = pool.submit(pool_calls.sleep_for_ever, str(tmp_path / "pid"))
    queued = [pool.submit(pool_calls.identity, number) for number in range(100)]
    pid = int(wait_for_file(tmp_path / "pid"))
    os.kill(pid, signal.SIGKILL)
    error = killed.exception(LONG)
    assert isinstance(error, WorkerCrashed) and isinstance(error, (UnirunError, RuntimeError))
    assert error.exitcode == -signal.SIGKILL
    assert str(error) == f"the worker process {pid} was ended by SIGKILL while it called pool_calls.sleep_for_ever"
    assert [future.result(LONG) for future in queued] == list(range(100))
    assert in_worker_number(pool) != pid


def test_a_worker_that_leaves_says_its_exit_code(make_pool: MakePool) -> None:
    pool = make_pool(1, on_worker_crash="replace")
    error = pool.submit(pool_calls.leave, 7).exception(LONG)
    assert isinstance(error, WorkerCrashed) and error.exitcode == 7
    assert "ended with exit code 7 while it called pool_calls.leave" in str(error)
    restored = pickle.loads(pickle.dumps(error))
    assert (str(restored), restored.exitcode) == (str(error), 7)


def test_a_fault_brings_its_stacks(make_pool: MakePool) -> None:
    pool = make_pool(1, on_worker_crash="replace")
    error = pool.submit(pool_calls.crash_by_fault).exception(LONG)
    assert isinstance(error, WorkerCrashed) and error.exitcode == -signal.SIGSEGV
    assert "crash_by_fault" in error.stacks and "crash_by_fault" in str(error)


def test_an_idle_worker_that_is_killed_is_replaced(make_pool: MakePool) -> None:
    pool = make_pool(1, on_worker_crash="replace")
    before = in_worker_number(pool)
    processes = pool._processes
    assert processes is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: processes and before not in processes)
    assert in_worker_number(pool) != before


def test_a_worker_killed_after_its_result_takes_nothing_along(make_pool: MakePool) -> None:
    pool = make_pool(2, on_worker_crash="replace")
    for _ in range(3):
        done = [pool.submit(pool_calls.identity, number) for number in range(50)]
        pid = in_worker_number(pool)
        os.kill(pid, signal.SIGKILL)
        outcomes = [future.exception(LONG) for future in done]
        assert sum(error is not None for error in outcomes) <= 1  # The one it was making, if any.
        assert all(error is None or isinstance(error, WorkerCrashed) for error in outcomes)


def test_too_many_deaths_break_the_pool_and_it_says_so(make_pool: MakePool) -> None:
    pool = make_pool(1, on_worker_crash="replace", max_restarts=2, restart_period=600)
    for _ in range(3):
        assert isinstance(pool.submit(pool_calls.leave, 1).exception(LONG), WorkerCrashed)
    with pytest.raises(BrokenProcessPool, match="have died more than 2 times within 600 seconds; the last one ended"):
        pool.submit(pool_calls.identity, 1)


def test_forked_workers_are_replaced_by_the_fork_server(make_pool: MakePool) -> None:
    """Who replaces them is a thread: by a fork the new one would have locks that nobody gives back."""
    pool = make_pool(1, "fork", on_worker_crash="replace")
    assert pool.submit(os.getppid).result(LONG) == os.getpid()
    pool.submit(pool_calls.leave, 1).exception(LONG)
    assert pool.submit(os.getppid).result(LONG) != os.getpid()


def test_a_crash_in_a_chunk_names_the_function_of_the_map(make_pool: MakePool) -> None:
    pool = make_pool(1, on_worker_crash="replace")
    with pytest.raises(WorkerCrashed, match=r"while it called pool_calls\.leave"):
        list(pool.map(pool_calls.leave, [1, 1], chunksize=2))


def test_a_callback_that_takes_its_time_holds_up_no_replacement(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1, "forkserver", on_worker_crash="replace")
    entered, gate = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        entered.set()
        gate.wait(LONG)

    go = tmp_path / "go"
    held = pool.submit(pool_calls.has_text_at_last, str(go))
    held.add_done_callback(hold)
    go.write_text("now")
    try:
        assert entered.wait(LONG)
        late = pool.schedule(pool_calls.sleep_for_ever, (str(tmp_path / "pid"),), timeout=0.5)
        assert isinstance(late.exception(LONG), TaskTimeout)
        assert isinstance(pool.submit(pool_calls.leave, 1).exception(LONG), WorkerCrashed)
        assert pool.submit(pool_calls.add, 1).result(LONG) == 2
    finally:
        gate.set()


def test_a_pool_whose_second_thread_cannot_start_is_broken(
    make_pool: MakePool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start = threading.Thread.start
    started: list[threading.Thread] = []

    def start_once(thread: threading.Thread) -> None:
        if started:
            raise RuntimeError("no more threads")
        started.append(thread)
        start(thread)

    pool = make_pool(2)
    monkeypatch.setattr(threading.Thread, "start", start_once)
    error = pool.submit(pool_calls.sleep_for_ever, str(tmp_path / "pid")).exception(LONG)
    assert isinstance(error, BrokenProcessPool) and "no more threads" in str(error.__cause__)
    with pytest.raises(BrokenProcessPool):
        pool.submit(pool_calls.add, 1)
    pool.shutdown()
    assert not started[0].is_alive()


def test_an_initializer_that_fails_breaks_the_pool_before_another_worker_tries(
    make_pool: MakePool, tmp_path: Path
) -> None:
    """However soon the worker dies, the pool does not take it for one that is yet to start."""
    for number in range(10):
        tries = tmp_path / str(number)
        pool = make_pool(1, initializer=pool_calls.note_and_refuse_to_start, initargs=(str(tries),))
        assert isinstance(pool.submit(pool_calls.add, 1).exception(LONG), BrokenProcessPool)
        with pytest.raises(BrokenProcessPool):
            pool.submit(pool_calls.add, 1)
        assert tries.read_text() == "tried\n"


def test_an_initializer_that_always_fails_ends_the_pool(make_pool: MakePool) -> None:
    pool = make_pool(1, on_worker_crash="replace", initializer=pool_calls.refuse_to_start, max_restarts=1)
    future = pool.submit(pool_calls.identity, 1)
    with pytest.raises(BrokenProcessPool, match="have died more than 1 times within 60 seconds; the last one ended"):
        future.result(LONG)


def test_a_signal_in_the_middle_of_results_is_never_a_wait(make_pool: MakePool) -> None:
    """Killed at any moment, also while it writes: each future is done, by its result or the break."""
    for _ in range(5):
        pool = make_pool(2)
        futures = [pool.submit(pool_calls.large_bytes, 200_000) for _ in range(60)]
        pid = next(iter(pool._processes or {}))
        futures[5].exception(LONG)
        os.kill(pid, signal.SIGKILL)
        for future in futures:
            error = future.exception(LONG)
            assert error is None or isinstance(error, BrokenProcessPool)


def test_who_waits_for_a_result_lets_the_thread_that_reads_it_go_on(make_pool: MakePool) -> None:
    """It was seen and not read, again and again with the GIL held, until the timeout of result()."""
    pool = make_pool(2)
    interval = sys.getswitchinterval()

    def lead_the_result_to_the_manager(_: object) -> None:
        pool_calls.SHARED[0] = 1
        deadline = time.monotonic() + LONG
        while pool_calls.SHARED[1] == 0 and time.monotonic() < deadline:
            pass
        for _ in range(1_000_000):  # It is written by then, and who waits for it cannot read it: the GIL is here.
            pass
        engine: Any = pool._engine
        engine.call_for_attention()  # The manager looks for results next, as it does when it is woken.

    pool_calls.SHARED[:] = bytes(2)
    pool.submit(time.sleep, 0.1).add_done_callback(lead_the_result_to_the_manager)
    slow = pool.submit(pool_calls.read_slowly_once_asked)
    try:
        sys.setswitchinterval(1000)
        assert slow.result(LONG) == "read"
    finally:
        sys.setswitchinterval(interval)


# ---- Calls over their time ----


def test_a_call_over_its_time_is_ended(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1, "forkserver")
    limit = 0.25
    while not pool_calls.has_text(str(tmp_path / "pid")):  # On a busy machine it may have needed longer to begin.
        limit *= 2
        late = pool.schedule(pool_calls.sleep_for_ever, (str(tmp_path / "pid"),), timeout=limit)
        after = pool.submit(pool_calls.add, 1)
        error = late.exception(LONG)
        assert isinstance(error, TaskTimeout) and isinstance(error, (UnirunError, TimeoutError))
        assert after.result(LONG) == 2
    pid = int((tmp_path / "pid").read_text())
    assert str(error) == f"pool_calls.sleep_for_ever took longer than {limit:g} s; its worker process {pid} was ended"
    assert is_gone(pid)


def test_the_time_of_a_call_counts_from_its_beginning(make_pool: MakePool, tmp_path: Path) -> None:
    """Not while the worker starts, however long that takes."""
    ready = tmp_path / "ready"
    pool = make_pool(1, "fork", initializer=pool_calls.has_text_at_last, initargs=(str(ready),))
    future = pool.schedule(pool_calls.add, (1,), timeout=0.05)
    after = pool.schedule(pool_calls.add, (2,), timeout=LONG)
    time.sleep(0.3)  # Six times over.
    assert not future.done()
    ready.write_text("now")
    assert after.result(LONG) == 3
    assert isinstance(future.exception(LONG), TaskTimeout | None)  # On a slow machine it may take its time.


def test_a_time_limit_for_the_whole_pool(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1, "fork", task_timeout=0.5)
    assert isinstance(pool.submit(pool_calls.sleep_for_ever, str(tmp_path / "pid")).exception(LONG), TaskTimeout)
    own = pool.schedule(pool_calls.keywords, (1,), {"b": 2}, timeout=LONG)
    assert own.result(LONG) == ((1,), {"b": 2})


def test_calls_within_their_time_are_left_alone(make_pool: MakePool) -> None:
    pool = make_pool(2, task_timeout=LONG)
    pids = {pool.submit(os.getpid).result(LONG) for _ in range(20)}
    assert [pool.schedule(pool_calls.add, (number,), timeout=LONG).result(LONG) for number in range(20)] == list(
        range(1, 21)
    )
    assert {pool.submit(os.getpid).result(LONG) for _ in range(20)} <= pids | {*(pool._processes or {})}


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_limit_that_is_none_is_refused(make_pool: MakePool, timeout: float) -> None:
    pool = make_pool(1)
    with pytest.raises(ValueError, match="timeout must be a number of seconds above 0"):
        pool.schedule(pool_calls.add, (1,), timeout=timeout)


# ---- Nobody is left ----


@pytest.mark.parametrize("method", METHODS)
def test_workers_end_with_their_parent_however_it_ends(method: str, tmp_path: Path) -> None:
    """Also in the middle of a call that would never end."""
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import multiprocessing, os, signal, sys, time
            sys.path.insert(0, {str(Path(__file__).parent)!r})
            import pool_calls
            from unirun.executors.processes import ProcessPoolExecutor

            if __name__ == "__main__":
                pool = ProcessPoolExecutor(2, multiprocessing.get_context({method!r}))
                for name in ("a", "b"):
                    pool.submit(pool_calls.sleep_for_ever, {str(tmp_path)!r} + "/" + name)
                while not all(map(pool_calls.has_text, ({str(tmp_path)!r} + "/a", {str(tmp_path)!r} + "/b"))):
                    time.sleep(0.01)
                os.kill(os.getpid(), signal.SIGKILL)
            """
        )
    )
    parent = subprocess.run([sys.executable, str(script)], timeout=2 * LONG)
    assert parent.returncode == -signal.SIGKILL
    for name in ("a", "b"):
        pid = int(wait_for_file(tmp_path / name))
        wait_until(partial(is_gone, pid))


def test_a_pool_leaves_no_descriptor_no_thread_no_process() -> None:
    def use() -> None:
        pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"), on_worker_crash="replace")
        assert list(pool.map(pool_calls.identity, range(10))) == list(range(10))
        pool.shutdown()

    use()
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(5):
        use()
    assert len(os.listdir("/proc/self/fd")) <= before[0]
    assert threading.active_count() <= before[1]
    assert not multiprocessing.active_children()


def test_arguments_and_results_are_not_kept(make_pool: MakePool) -> None:
    import gc
    import weakref

    class Kept(concurrent.futures.Future):  # type: ignore[type-arg]
        """Anything that takes weak references and pickles to something else."""

        def __reduce__(self) -> Any:
            return int, ("3",)

    pool = make_pool()
    argument = Kept()
    seen = weakref.ref(argument)
    assert pool.submit(pool_calls.identity, argument).result(LONG) == 3
    del argument
    gc.collect()
    assert seen() is None


# ---- asyncio, figures, cloudpickle ----


def test_asyncio_gathers_what_runs_in_workers(make_pool: MakePool) -> None:
    pool = make_pool(2)

    async def gather() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, pool_calls.add, number) for number in range(300)]
        return await asyncio.wait_for(asyncio.gather(*calls), LONG)

    assert asyncio.run(gather()) == list(range(1, 301))


def test_what_it_counts(make_pool: MakePool) -> None:
    pool = make_pool(1)
    for number in range(10):
        pool.submit(pool_calls.identity, number).result(LONG)
    pool.submit(pool_calls.fail, ValueError()).exception(LONG)
    counted = pool._statistics()
    assert {name: counted[name] for name in ("submitted", "completed", "failed", "cancelled", "queued", "running")} == {
        "submitted": 11, "completed": 10, "failed": 1, "cancelled": 0, "queued": 0, "running": 0
    }  # fmt: skip
    assert counted["workers"] == 1
    for name in ("wait_seconds", "run_seconds"):
        assert counted[name]["count"] == sum(count for _, count in counted[name]["buckets"]) > 0


def test_cloudpickle_takes_lambdas_both_ways(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("cloudpickle")
    module.Pickler = pool_calls.PicklerByValue  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "cloudpickle", module)
    pool = make_pool(1, pickler="cloudpickle")
    assert pool.submit(lambda value: value + 40, 1).result(LONG) == 41
    assert pool.submit(lambda: lambda: 42).result(LONG)() == 42


def test_cloudpickle_that_is_missing_is_told(make_pool: MakePool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(ValueError, match="pickler='cloudpickle': it is not installed"):
        make_pool(1, pickler="cloudpickle")


def test_a_nested_pool_of_another_start_method(make_pool: MakePool) -> None:
    assert make_pool(1).submit(pool_calls.nested, ProcessPoolExecutor, 1).result(LONG) == 2
