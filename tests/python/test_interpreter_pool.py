"""InterpreterPoolExecutor: calls in interpreters of this process, each with its own GIL."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import textwrap
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import interpreter_tasks as tasks
from interpreter_pools import import_pools
from unirun.executors.futures import Future as NativeFuture

InterpreterPoolExecutor = import_pools().InterpreterPoolExecutor
ExecutionFailed = import_pools("concurrent.interpreters").ExecutionFailed
NotShareableError = import_pools("concurrent.interpreters").NotShareableError
SOON = 30.0  # What takes longer hangs.


@pytest.fixture
def pool() -> Iterator[Any]:
    with InterpreterPoolExecutor(2) as executor:
        yield executor


@pytest.fixture
def lone() -> Iterator[Any]:
    """A pool of one worker."""
    with InterpreterPoolExecutor(1) as executor:
        yield executor


class Gate:
    """Holds a worker up: a task is `begun` and ends when it is let `go`."""

    def __init__(self) -> None:
        self._begun, self._tell = os.pipe()
        self._wait, self._go = os.pipe()

    def submit(self, pool: Any) -> Future[bytes]:
        future: Future[bytes] = pool.submit(tasks.tell_and_wait, self._tell, self._wait)
        assert os.read(self._begun, 1) == b"x"
        return future

    def go(self) -> None:
        os.write(self._go, b"g")

    def close(self) -> None:
        for end in (self._begun, self._tell, self._wait, self._go):
            os.close(end)


@pytest.fixture
def gate() -> Iterator[Gate]:
    made = Gate()
    yield made
    made.close()


def run_script(folder: Path, text: str) -> str:
    script = folder / "script.py"
    script.write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-X", "dev", script], capture_output=True, text=True, timeout=SOON, cwd=folder, check=False
    )
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


# ---- Where ----


def test_a_task_runs_in_an_interpreter_of_its_own(lone: Any) -> None:
    interpreter, _ = lone.submit(tasks.here).result(SOON)

    assert interpreter != tasks.here()[0]


def test_a_worker_keeps_its_interpreter(lone: Any) -> None:
    assert [lone.submit(tasks.count_calls).result(SOON) for _ in range(3)] == [1, 2, 3]
    assert tasks.calls == 0


def test_every_worker_has_another_interpreter(pool: Any, gate: Gate) -> None:
    held = gate.submit(pool)

    other = pool.submit(tasks.here).result(SOON)
    gate.go()
    held.result(SOON)

    assert len(pool._threads) == 2
    assert other[0] != tasks.here()[0]


def test_workers_are_threads_with_the_standard_names(lone: Any) -> None:
    lone.submit(tasks.echo, 1).result(SOON)

    (worker,) = lone._threads
    assert isinstance(worker, threading.Thread)
    assert worker.name == f"{lone._thread_name_prefix}_0"
    assert worker.name.startswith("InterpreterPoolExecutor-")


def test_an_idle_worker_is_used_again() -> None:
    with InterpreterPoolExecutor(8) as pool:
        for number in range(50):
            assert pool.submit(tasks.echo, number).result(SOON) == number
        assert len(pool._threads) == 1


def test_what_was_added_to_the_search_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "added_module.py").write_text("place = __name__\ndef where(): return place\n")
    monkeypatch.syspath_prepend(tmp_path)
    import added_module  # type: ignore[import-not-found, unused-ignore]

    with InterpreterPoolExecutor(1) as pool:
        assert pool.submit(added_module.where).result(SOON) == "added_module"


# ---- What crosses ----


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        2**200,
        1.5,
        float("inf"),
        "",
        "text",
        "\ud800",
        b"",
        bytes(range(256)),
        (),
        (1, ("two", (b"three", None))),
        [1, [2]],
        {"a": (1, 2)},
        {1, 2},
        1j,
        ...,
        range(3),
        int,
        len,
    ],
    ids=repr,
)
def test_a_value_comes_back_as_it_was(lone: Any, value: Any) -> None:
    back = lone.submit(tasks.echo, value).result(SOON)

    assert back == value
    assert type(back) is type(value)


def test_objects_are_copied(lone: Any) -> None:
    box = tasks.Box([1, 2])

    back = lone.submit(tasks.echo, box).result(SOON)

    assert back == box
    assert back is not box
    assert lone.submit(tasks.Box, 3).result(SOON) == tasks.Box(3)


def test_a_tuple_nested_too_deeply_for_marshal_crosses(lone: Any) -> None:
    deep: Any = 0
    for _ in range(100):
        deep = (deep,)

    assert lone.submit(tasks.echo, deep).result(SOON) == deep


def test_positional_and_keyword_arguments_arrive(lone: Any) -> None:
    assert lone.submit(tasks.keywords, 1, b=2, a=[3]).result(SOON) == ((1,), [("a", [3]), ("b", 2)])
    assert lone.submit(tasks.keywords, a=1).result(SOON) == ((), [("a", 1)])


def test_all_kinds_of_callables_can_be_submitted(lone: Any) -> None:
    assert lone.submit(len, "abc").result(SOON) == 3
    assert lone.submit(int, "12").result(SOON) == 12
    assert lone.submit("abc".upper).result(SOON) == "ABC"
    assert lone.submit(tasks.Box(4).double).result(SOON) == 8
    assert lone.submit(partial(pow, 2), 5).result(SOON) == 32
    assert lone.submit(lambda: 7).result(SOON) == 7


def test_a_large_result_crosses(lone: Any) -> None:
    assert len(lone.submit(bytes, 64 << 20).result(SOON)) == 64 << 20


def test_an_argument_is_let_go_once_the_task_is_done(lone: Any) -> None:
    box = tasks.Box(1)
    seen = weakref.ref(box)
    future = lone.submit(tasks.echo, box)
    future.result(SOON)

    del box, future
    gc.collect()

    assert seen() is None


# ---- What does not cross ----


def test_an_argument_that_cannot_cross_fails_its_task_only(lone: Any) -> None:
    for argument in (threading.Lock(), tasks.Traitor(), [lambda: 0]):
        with pytest.raises(NotShareableError):
            lone.submit(tasks.echo, argument).result(SOON)
    assert lone.submit(tasks.echo, 1).result(SOON) == 1


def test_a_function_that_cannot_cross_fails_its_task_only(lone: Any) -> None:
    outside = 1

    with pytest.raises(NotShareableError):
        lone.submit(lambda: outside).result(SOON)
    assert lone.submit(tasks.echo, 1).result(SOON) == 1


def test_a_result_that_cannot_cross_is_told_by_its_type(lone: Any) -> None:
    with pytest.raises(NotShareableError, match="type lock, cannot be carried home: TypeError: cannot pickle"):
        lone.submit(tasks.make_lock).result(SOON)
    with pytest.raises(NotShareableError, match="could not be unpickled: RuntimeError: gotcha"):
        lone.submit(tasks.make_traitor).result(SOON)
    assert lone.submit(tasks.echo, 1).result(SOON) == 1


def test_a_script_is_refused(lone: Any) -> None:
    with pytest.raises(TypeError, match="scripts not supported"):
        lone.submit("print(1)")
    with pytest.raises(TypeError, match="scripts not supported"):
        InterpreterPoolExecutor(initializer="pass")
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        lone.submit()


# ---- Failure ----


def test_an_exception_comes_with_type_message_and_traceback(lone: Any) -> None:
    with pytest.raises(ValueError, match=r"^deep$") as caught:
        lone.submit(tasks.fail_deep, "deep").result(SOON)

    cause = caught.value.__cause__
    assert isinstance(cause, ExecutionFailed)
    assert cause.excinfo.type.__name__ == "ValueError"
    assert cause.excinfo.msg == "deep"
    assert "KeyError: 'first'" in str(cause)
    assert "in fail_deep" in str(cause)
    assert str(cause).endswith("ValueError: deep")


def test_an_exception_that_cannot_be_rebuilt_is_told(lone: Any) -> None:
    with pytest.raises(ExecutionFailed, match=r"interpreter_tasks\.Stubborn: 1 and 2") as caught:
        lone.submit(tasks.fail_stubbornly).result(SOON)

    assert "in fail_stubbornly" in str(caught.value)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit("x")], ids=repr)
def test_whatever_is_raised_is_the_futures(lone: Any, error: BaseException) -> None:
    raised = lone.submit(tasks.raise_it, error).exception(SOON)

    assert type(raised) is type(error)
    assert raised.args == error.args
    assert lone.submit(tasks.echo, 1).result(SOON) == 1


# ---- Initializers and imports ----


def test_the_initializer_runs_in_each_interpreter() -> None:
    with InterpreterPoolExecutor(1, initializer=tasks.set_value, initargs=("told",)) as pool:
        assert pool.submit(tasks.get_value).result(SOON) == "told"
    assert tasks.calls == 0


def test_an_initializer_that_fails_breaks_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.CRITICAL, "concurrent.futures"),
        InterpreterPoolExecutor(1, initializer=tasks.fail_deep, initargs=("no",)) as pool,
    ):
        futures = [pool.submit(tasks.echo, 1)]
        with pytest.raises(pool.BROKEN, match="initializer failed"):
            futures[0].result(SOON)
        with pytest.raises(pool.BROKEN, match="initializer failed"):
            pool.submit(tasks.echo, 1)

    assert "Exception in initializer:" in caplog.text
    assert "ValueError: no" in caplog.text


def test_shared_imports_are_there_before_the_first_task() -> None:
    with InterpreterPoolExecutor(1, imports="shared", modules=["colorsys", "xml.dom"]) as pool:
        assert pool.submit(tasks.imported, "colorsys").result(SOON) is True
        assert pool.submit(tasks.imported, "xml.dom").result(SOON) is True
    with InterpreterPoolExecutor(1) as pool:
        assert pool.submit(tasks.imported, "colorsys").result(SOON) is False


def test_a_shared_import_that_fails_breaks_the_pool(caplog: pytest.LogCaptureFixture) -> None:
    with InterpreterPoolExecutor(1, imports="shared", modules=["no_such_module"]) as pool:
        error = pool.submit(tasks.echo, 1).exception(SOON)

    assert isinstance(error, pool.BROKEN)

    assert "no_such_module" in caplog.text


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"imports": "all"}, "imports='all': expected 'isolated' or 'shared'"),
        ({"imports": "shared"}, "imports='shared' needs modules, their names"),
        ({"modules": ["json"]}, "imports='isolated' takes no modules; say imports='shared'"),
        ({"imports": "shared", "modules": "json"}, "modules='json': expected a sequence of names"),
        ({"max_workers": 0}, "max_workers must be greater than 0"),
    ],
    ids=repr,
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InterpreterPoolExecutor(**given)


# ---- Futures ----


def test_futures_are_native_and_standard(lone: Any) -> None:
    future = lone.submit(tasks.echo, 1)

    assert isinstance(future, Future)
    assert isinstance(future, NativeFuture)


def test_wait_and_as_completed_see_them_done(pool: Any) -> None:
    futures = [pool.submit(tasks.echo, number) for number in range(100)]

    assert sorted(future.result() for future in as_completed(futures, timeout=SOON)) == list(range(100))
    assert wait(futures, timeout=SOON).not_done == set()


def test_a_coroutine_can_await_them(pool: Any) -> None:
    async def gather() -> list[Any]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(pool, tasks.echo, number) for number in range(100)))

    assert asyncio.run(asyncio.wait_for(gather(), SOON)) == list(range(100))


def test_a_callback_may_submit_and_wait(pool: Any) -> None:
    got: list[int] = []
    done = threading.Event()

    def callback(future: Future[int]) -> None:
        got.append(pool.submit(tasks.echo, future.result() + 1).result(SOON))
        done.set()

    pool.submit(tasks.echo, 1).add_done_callback(callback)

    assert done.wait(SOON)
    assert got == [2]


def test_a_callback_that_raises_is_logged_and_harms_nobody(lone: Any, caplog: pytest.LogCaptureFixture) -> None:
    done = threading.Event()
    future = lone.submit(tasks.echo, 1)
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(lambda _: done.set())

    assert done.wait(SOON)
    assert lone.submit(tasks.echo, 2).result(SOON) == 2
    assert "exception calling callback" in caplog.text


def test_a_result_does_not_wait_for_the_task_behind_it(lone: Any, gate: Gate) -> None:
    """The guard delivers what a worker has left behind in a long queue."""
    before = [lone.submit(tasks.echo, number) for number in range(100)]
    held = lone.submit(tasks.tell_and_wait, gate._tell, gate._wait)
    behind = [lone.submit(tasks.echo, number) for number in range(100)]

    assert [future.result(SOON) for future in before] == list(range(100))
    assert not held.done()
    gate.go()
    assert [future.result(SOON) for future in behind] == list(range(100))


def test_a_waiting_task_is_cancelled_and_a_running_one_is_not(lone: Any, gate: Gate) -> None:
    running = gate.submit(lone)
    waiting = lone.submit(tasks.count_calls)

    assert running.running()
    assert not running.cancel()
    assert waiting.cancel()
    gate.go()

    assert running.result(SOON) == b"g"
    with pytest.raises(CancelledError):
        waiting.result(SOON)
    assert lone.submit(tasks.count_calls).result(SOON) == 1


def test_a_timeout_leaves_the_task_alone(lone: Any, gate: Gate) -> None:
    held = gate.submit(lone)

    with pytest.raises(TimeoutError):
        held.result(0.01)
    gate.go()

    assert held.result(SOON) == b"g"


def test_many_threads_share_a_pool(pool: Any) -> None:
    wrong: list[Any] = []

    def use(first: int) -> None:
        for number in range(first, first + 200):
            got = pool.submit(tasks.echo, number).result(SOON)
            if got != number:
                wrong.append((number, got))

    threads = [threading.Thread(target=use, args=(1000 * at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert wrong == []


def test_a_task_may_have_a_pool_of_its_own(lone: Any) -> None:
    assert lone.submit(tasks.sum_in_pool, (1, 2, 3)).result(SOON) == 6


# ---- map ----


@pytest.mark.parametrize("chunksize", [1, 3, 100])
def test_map_keeps_the_order(pool: Any, chunksize: int) -> None:
    assert list(pool.map(pow, range(10), [2] * 10, chunksize=chunksize)) == [n**2 for n in range(10)]


def test_a_chunk_is_one_task(lone: Any) -> None:
    assert list(lone.map(tasks.Box, range(10), chunksize=4)) == [tasks.Box(n) for n in range(10)]
    assert lone._statistics()["submitted"] == 3


def test_chunks_of_a_function_that_only_the_standard_machinery_carries(lone: Any) -> None:
    assert list(lone.map(lambda x: x + 1, range(5), chunksize=2)) == [1, 2, 3, 4, 5]


def test_a_chunk_that_fails_ends_the_map(pool: Any) -> None:
    results = pool.map(int, ["1", "2", "x", "4", "5"], chunksize=2)

    assert [next(results), next(results)] == [1, 2]
    with pytest.raises(ValueError, match="'x'"):
        next(results)


def test_map_with_chunks_and_a_buffer_goes_through(lone: Any) -> None:
    assert list(lone.map(tasks.echo, range(20), chunksize=3, buffersize=2)) == list(range(20))


# ---- The end ----


def test_shutdown_finishes_what_is_queued() -> None:
    pool = InterpreterPoolExecutor(1)
    futures = [pool.submit(tasks.echo, number) for number in range(50)]

    pool.shutdown()

    assert [future.result(0) for future in futures] == list(range(50))
    assert not any(thread.is_alive() for thread in pool._threads)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        pool.submit(tasks.echo, 1)


def test_shutdown_cancels_what_has_not_begun(gate: Gate) -> None:
    pool = InterpreterPoolExecutor(1)
    held = gate.submit(pool)
    waiting = [pool.submit(tasks.echo, number) for number in range(5)]

    pool.shutdown(wait=False, cancel_futures=True)
    gate.go()
    pool.shutdown()

    assert held.result(0) == b"g"
    assert all(future.cancelled() for future in waiting)


def test_a_pool_that_was_never_used_shuts_down() -> None:
    InterpreterPoolExecutor(1).shutdown()
    InterpreterPoolExecutor(1).shutdown(cancel_futures=True)


def test_a_dropped_pool_finishes_and_goes(gate: Gate) -> None:
    pool = InterpreterPoolExecutor(1)
    held = gate.submit(pool)
    behind = pool.submit(tasks.echo, 2)
    threads = [*pool._threads, pool._guard]

    del pool
    gc.collect()
    gate.go()

    assert held.result(SOON) == b"g"
    assert behind.result(SOON) == 2
    for thread in threads:
        assert thread is not None
        thread.join(SOON)
        assert not thread.is_alive()


def test_pending_work_is_done_before_the_program_ends(tmp_path: Path) -> None:
    printed = run_script(
        tmp_path,
        """
        from unirun.executors.interpreters import InterpreterPoolExecutor

        def work(number):
            import time
            time.sleep(0.01)
            print(number, flush=True)

        if __name__ == "__main__":
            pool = InterpreterPoolExecutor(1)
            for number in range(5):
                pool.submit(work, number)
            pool.shutdown(wait=False)
        """,
    )
    assert printed.split() == ["0", "1", "2", "3", "4"]


def test_a_submission_at_the_end_of_the_program_is_refused(tmp_path: Path) -> None:
    printed = run_script(
        tmp_path,
        """
        import atexit
        from unirun.executors.interpreters import InterpreterPoolExecutor

        @atexit.register
        def late():
            for pool in (used, unused):
                try:
                    pool.submit(len, "x")
                except RuntimeError as error:
                    print(error)

        used, unused = InterpreterPoolExecutor(1), InterpreterPoolExecutor(1)
        used.submit(len, "x").result()
        """,
    )
    assert printed.splitlines() == ["cannot schedule new futures after interpreter shutdown"] * 2


def test_functions_and_classes_of_the_main_module_work(tmp_path: Path) -> None:
    printed = run_script(
        tmp_path,
        """
        from unirun.executors.interpreters import InterpreterPoolExecutor

        state = "as imported"

        class Point:
            def __init__(self, x):
                self.x = x

        def set_state(value):
            global state
            assert state
            state = value

        def get_state(point):
            return state, point.x, isinstance(point, Point)

        if __name__ == "__main__":
            with InterpreterPoolExecutor(1, initializer=set_state, initargs=("set",)) as pool:
                print(*pool.submit(get_state, Point(3)).result())
                print(*pool.map(get_state, [Point(4), Point(5)], chunksize=2))
            print(state)
        """,
    )
    assert printed.splitlines() == ["set 3 True", "('set', 4, True) ('set', 5, True)", "as imported"]


# ---- Statistics ----


def test_statistics_count_each_ending_once(lone: Any, gate: Gate) -> None:
    held = gate.submit(lone)
    cancelled = lone.submit(tasks.echo, 1)
    failed = lone.submit(int, "x")
    waiting = lone._statistics()

    cancelled.cancel()
    gate.go()
    assert held.result(SOON) == b"g"
    assert isinstance(failed.exception(SOON), ValueError)
    ended = lone._statistics()

    counted = ("submitted", "completed", "failed", "cancelled", "queued", "running", "workers")
    assert [waiting[key] for key in counted] == [3, 0, 0, 0, 2, 1, 1]
    assert [ended[key] for key in counted] == [3, 1, 1, 1, 0, 0, 1]
    assert ended["run_seconds"]["count"] == 2
    assert ended["wait_seconds"]["max"] > 0
