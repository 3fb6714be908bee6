"""The native thread pool: what its threads do with tasks, and what is left of them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
import weakref
from concurrent import futures
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest

from unirun.executors.futures import Future
from unirun.executors.threads import ThreadPoolExecutor

PATIENCE = 30.0


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=2 * PATIENCE)


def test_it_is_the_standard_class_and_so_are_its_futures() -> None:
    with ThreadPoolExecutor(1) as pool:
        assert isinstance(pool, futures.ThreadPoolExecutor)
        future = pool.submit(divmod, 7, 3)
        assert isinstance(future, Future) and isinstance(future, futures.Future)
        assert future.result(PATIENCE) == (2, 1)


def test_arguments_arrive_by_place_and_by_name() -> None:
    def told(*args: int, **kwargs: int) -> tuple[Any, Any]:
        return args, kwargs

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(told, 1, 2, self=3, fn=4).result(PATIENCE) == ((1, 2), {"self": 3, "fn": 4})


def test_submit_without_a_function_says_so() -> None:
    with ThreadPoolExecutor(1) as pool, pytest.raises(TypeError, match="missing 1 required positional argument: 'fn'"):
        pool.submit()  # type: ignore[call-arg]


def test_tasks_that_block_run_beside_each_other_up_to_the_size_of_the_pool() -> None:
    together = threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            waiting = [pool.submit(together.wait, PATIENCE) for _ in range(4)]
            assert sorted(each.result(PATIENCE) for each in waiting) == [0, 1, 2, 3]
        assert len(pool._threads) == 4


def test_what_is_queued_behind_a_task_that_blocks_is_run_by_the_others() -> None:
    blocked = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        pool.submit(threading.Barrier(1).wait).result(PATIENCE)
        first = pool.submit(blocked.wait, PATIENCE)
        assert [each.result(PATIENCE) for each in [pool.submit(abs, -n) for n in range(100)]] == list(range(100))
        blocked.set()
        assert first.result(PATIENCE)


def test_an_idle_thread_is_used_before_another_is_started() -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(100):
            pool.submit(int).result(PATIENCE)
        assert len(pool._threads) == 1


def test_a_task_is_run_though_nobody_waits_in_result() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        for _ in range(200):
            pool.submit(done.set)
            assert done.wait(PATIENCE)
            done.clear()


def test_tasks_are_begun_in_their_order() -> None:
    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool:
        for number in range(10_000):
            pool.submit(seen.append, number)
    assert seen == list(range(10_000))


def test_many_threads_may_submit_and_wait_at_once() -> None:
    def chained(pool: ThreadPoolExecutor, depth: int) -> int:
        return depth if depth == 0 else 1 + pool.submit(chained, pool, 0).result(PATIENCE)

    with ThreadPoolExecutor(4) as outer, ThreadPoolExecutor(4) as inner:
        asked = [outer.submit(chained, inner, 1) for _ in range(2_000)]
        assert sum(each.result(PATIENCE) for each in asked) == 2_000


def test_threads_are_named_as_the_standard_class_names_them() -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="crew") as pool:
        assert pool.submit(lambda: threading.current_thread().name).result(PATIENCE) == "crew_0"


def test_a_pool_that_is_dropped_finishes_what_is_queued_and_ends_its_threads() -> None:
    pool = ThreadPoolExecutor(1)
    gate = threading.Event()
    pool.submit(gate.wait, PATIENCE)
    last = pool.submit(abs, -1)
    threads = list(pool._threads)
    del pool
    gc.collect()
    gate.set()
    assert last.result(PATIENCE) == 1
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_arguments_and_results_are_let_go() -> None:
    class Thing:
        pass

    def gone(thing: weakref.ref[Thing]) -> bool:
        """Without the GIL an object waits for the thread that made it, or for the collector."""
        deadline = time.monotonic() + PATIENCE
        while thing() is not None and time.monotonic() < deadline:
            gc.collect()
        return thing() is None

    with ThreadPoolExecutor(1) as pool:
        argument = Thing()
        watched = weakref.ref(argument)
        pool.submit(id, argument)
        del argument
        assert gone(watched)

        kept = pool.submit(Thing)
        futures.wait([kept], PATIENCE)
        watched = weakref.ref(kept.result())
        del kept
        assert gone(watched)


def test_an_initializer_runs_in_each_thread_before_its_first_task() -> None:
    local = threading.local()

    def begin(word: str) -> None:
        local.word = word

    with ThreadPoolExecutor(2, initializer=begin, initargs=("hello",)) as pool:
        assert {pool.submit(lambda: local.word).result(PATIENCE) for _ in range(10)} == {"hello"}


def test_an_initializer_that_fails_breaks_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    with ThreadPoolExecutor(1, initializer=divmod, initargs=(1, 0)) as pool:
        with pytest.raises(BrokenThreadPool, match="A thread initializer failed"):
            pool.submit(int).result(PATIENCE)
        with pytest.raises(BrokenThreadPool):
            pool.submit(int)
    assert "Exception in initializer:" in caplog.text


def test_shutdown_may_cancel_what_has_not_begun() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    running = pool.submit(gate.wait, PATIENCE)
    queued = [pool.submit(int) for _ in range(10)]
    while not running.running():
        os.sched_yield()
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(each.cancelled() for each in queued)
    gate.set()
    assert running.result(PATIENCE) is True
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(int)


def test_statistics_count_every_task_once() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    held = pool.submit(gate.wait, PATIENCE)
    while not held.running():
        os.sched_yield()
    failing, cancelled, queued = pool.submit(divmod, 1, 0), pool.submit(int), pool.submit(int)
    assert cancelled.cancel()
    now = pool._statistics()
    assert (now["submitted"], now["queued"], now["running"], now["workers"]) == (4, 2, 1, 1)
    gate.set()
    assert queued.result(PATIENCE) == 0
    assert isinstance(failing.exception(PATIENCE), ZeroDivisionError)
    pool.shutdown()
    end = pool._statistics()
    assert [end[word] for word in ("submitted", "completed", "failed", "cancelled")] == [4, 2, 1, 1]
    assert [end[word] for word in ("queued", "running", "workers")] == [0, 0, 0]
    assert end["run_seconds"]["count"] == 3 == sum(count for _bound, count in end["run_seconds"]["buckets"])
    assert end["wait_seconds"]["max"] <= end["wait_seconds"]["sum"]


def test_a_forked_child_has_a_pool_of_its_own() -> None:
    script = """
import os, threading
from unirun.executors.threads import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
gate = threading.Event()
held = [pool.submit(gate.wait, 30) for _ in range(5)]
child = os.fork()
if child == 0:
    assert not pool._threads and pool._statistics()["queued"] == 0
    assert pool.submit(abs, -3).result(30) == 3
    pool.shutdown()
    os._exit(0)
gate.set()
assert os.waitpid(child, 0)[1] == 0
assert all(each.result(30) for each in held)
print("done")
"""
    assert run_script("import warnings; warnings.simplefilter('ignore')\n" + script).stdout == "done\n"


def test_work_that_is_queued_when_the_program_ends_is_done() -> None:
    script = """
import os
from unirun.executors.threads import ThreadPoolExecutor
pool = ThreadPoolExecutor(2)
for number in range(1000):
    pool.submit(os.write, 1, b"%d\\n" % number)
"""
    ended = run_script(script)
    assert sorted(map(int, ended.stdout.split())) == list(range(1000))
    assert (ended.stderr, ended.returncode) == ("", 0)


def test_a_submission_while_the_interpreter_ends_is_refused() -> None:
    script = """
import atexit
from unirun.executors.threads import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
pool.submit(int).result()
@atexit.register
def late():
    try:
        pool.submit(int)
    except RuntimeError as error:
        print(error)
"""
    assert run_script(script).stdout == "cannot schedule new futures after interpreter shutdown\n"


def test_ctrl_c_reaches_a_main_thread_that_waits_for_a_result() -> None:
    script = """
import os, signal, threading
from unirun.executors.threads import ThreadPoolExecutor
pool = ThreadPoolExecutor(1)
gate = threading.Event()
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell may have had it ignored.
def strike():
    os.kill(os.getpid(), signal.SIGINT)
    gate.wait(30)
try:
    pool.submit(strike).result(30)
except KeyboardInterrupt:
    print("interrupted")
gate.set()
"""
    assert run_script(script).stdout == "interrupted\n"


def test_where_no_thread_can_be_started_submit_says_so_and_the_task_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    ran: list[int] = []
    with ThreadPoolExecutor(2) as pool:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start new thread"):
                pool.submit(ran.append, 1)
        assert pool._statistics()["workers"] == 0 and not pool._threads
        pool.submit(ran.append, 2).result(PATIENCE)
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(10):
                pool.submit(ran.append, 3)
        pool.shutdown()
    assert ran == [2] + [3] * 10


# ---- map() ----


def test_map_yields_results_in_their_order_though_they_come_in_another() -> None:
    first = threading.Event()

    def wait_or_set(number: int) -> int:
        if number == 0:
            assert first.wait(PATIENCE)
        if number == 3:
            first.set()
        return number

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wait_or_set, range(100))) == list(range(100))
        assert list(pool.map(pow, [2, 3], [5, 2], [1000, 1000])) == [32, 9]
        assert list(pool.map(int, [])) == []


def test_map_raises_at_the_place_of_the_exception_and_cancels_what_has_not_begun() -> None:
    gate = threading.Event()
    ran: list[int] = []

    def task(number: int) -> int:
        if number == 1:
            raise ValueError("one")
        if number == 2:
            gate.wait(PATIENCE)
        ran.append(number)
        return number

    with ThreadPoolExecutor(1) as pool:
        results = pool.map(task, range(10))
        assert next(results) == 0
        with pytest.raises(ValueError, match="one"):
            next(results)
        assert list(results) == []
        gate.set()
    assert set(ran) <= {0, 2}


def test_map_gives_up_after_its_timeout() -> None:
    gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        with pytest.raises(TimeoutError):
            list(pool.map(gate.wait, [PATIENCE] * 3, timeout=0.01))
        gate.set()


def test_map_keeps_no_result_that_was_handed_out() -> None:
    class Thing:
        def __init__(self, _number: int) -> None: ...

    with ThreadPoolExecutor(1) as pool:
        results = pool.map(Thing, range(3))
        gone = threading.Event()
        weakref.finalize(next(results), gone.set)
        assert gone.wait(PATIENCE)
        assert len(list(results)) == 2


def test_an_overridden_submit_is_what_map_uses() -> None:
    class Doubling(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            return super().submit(lambda: 2 * fn(*args, **kwargs))

    with Doubling(1) as pool:
        assert list(pool.map(abs, [-1, -2])) == [2, 4]


def test_an_iterable_that_raises_stops_map_and_not_what_was_queued() -> None:
    def numbers() -> Any:
        yield 1
        raise LookupError("no more")

    seen: list[int] = []
    with ThreadPoolExecutor(1) as pool, pytest.raises(LookupError, match="no more"):
        pool.map(seen.append, numbers())
    assert seen == [1]


def test_map_after_shutdown_is_refused() -> None:
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.map(abs, [1])


def test_a_shutdown_that_cancels_ends_map_with_a_cancellation() -> None:
    gate = threading.Event()
    pool = ThreadPoolExecutor(1)
    results = pool.map(gate.wait, [PATIENCE] * 3)
    while pool._statistics()["running"] == 0:
        os.sched_yield()
    pool.shutdown(wait=False, cancel_futures=True)
    gate.set()
    assert next(results) is True
    with pytest.raises(futures.CancelledError):
        next(results)
