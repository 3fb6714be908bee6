"""Process pools, native and standard: what one does the other does, message for message."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import pool_calls
from unirun.executors.processes import ProcessPoolExecutor

LONG = 30.0
KINDS = (concurrent.futures.ProcessPoolExecutor, ProcessPoolExecutor)
MakePool = Callable[..., concurrent.futures.ProcessPoolExecutor]


@pytest.fixture(params=KINDS, ids=["standard", "native"])
def make_pool(request: pytest.FixtureRequest) -> Iterator[MakePool]:
    """A function that makes a pool of one kind, by fork; all are shut down after the test."""
    import multiprocessing

    pools: list[concurrent.futures.ProcessPoolExecutor] = []

    def make(max_workers: int = 2, **members: Any) -> concurrent.futures.ProcessPoolExecutor:
        members.setdefault("mp_context", multiprocessing.get_context("fork"))
        pools.append(request.param(max_workers, **members))
        return pools[-1]

    yield make
    for pool in pools:
        pool.shutdown()


def wait_for_file(path: Path) -> str:
    """Its text, once there is some."""
    started = threading.Event()
    for _ in range(int(LONG / 0.01)):
        if path.exists() and (text := path.read_text()):
            return text
        started.wait(0.01)
    raise AssertionError(f"{path} was not written in {LONG} s")


def wait_until(condition: Callable[[], object]) -> None:
    """Until it holds; it is looked at now and then."""
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until, f"not in {LONG} s"
        time.sleep(0.005)


@pytest.mark.parametrize(
    "value",
    [None, True, False, 0, -1, 1 << 62, 1 << 70, 1.5, float("inf"), "", "text", "größer", "\ud800", b"", b"\0x",
     (), (1, "a"), [1, [2]], {"k": (None, 1)}, {1, 2}, 3 + 4j, range(3), "x" * 100_000, b"y" * 3_000_000,
     bytearray(b"z" * 400_000), "ß" * 100_000],
    ids=lambda value: f"{type(value).__name__}-{sys.getsizeof(value)}",
)  # fmt: skip
def test_values_come_back_equal_and_of_their_type(make_pool: MakePool, value: object) -> None:
    pool = make_pool(1)
    result = pool.submit(pool_calls.identity, value).result(LONG)
    assert type(result) is type(value) and result == value


def test_arguments_by_position_and_by_name(make_pool: MakePool) -> None:
    pool = make_pool(1)
    assert pool.submit(pool_calls.keywords, 1, "b", c=None, fn=2).result(LONG) == ((1, "b"), {"c": None, "fn": 2})
    assert pool.submit(pool_calls.keywords).result(LONG) == ((), {})
    assert pool.submit(pool_calls.keywords, *range(300)).result(LONG) == (tuple(range(300)), {})


def test_bound_methods_carry_the_state_of_the_moment(make_pool: MakePool) -> None:
    pool = make_pool(1)
    numbers = [1, 2]
    assert pool.submit(numbers.count, 1).result(LONG) == 1
    numbers.append(1)
    assert pool.submit(numbers.count, 1).result(LONG) == 2


def test_an_exception_comes_with_the_workers_traceback(make_pool: MakePool) -> None:
    pool = make_pool(1)
    error = pool.submit(pool_calls.fail, KeyError("gone")).exception(LONG)
    assert isinstance(error, KeyError) and error.args == ("gone",)
    assert type(error.__cause__).__name__ == "_RemoteTraceback"
    assert "raise error  # The line that a remote traceback shows." in str(error.__cause__)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt("k"), GeneratorExit()], ids=repr)
def test_what_is_no_exception_comes_back_as_well(make_pool: MakePool, error: BaseException) -> None:
    pool = make_pool(1)
    got = pool.submit(pool_calls.fail, error).exception(LONG)
    assert type(got) is type(error) and got.args == error.args
    assert pool.submit(pool_calls.identity, 1).result(LONG) == 1


def test_what_cannot_be_pickled_fails_its_own_future_only(make_pool: MakePool) -> None:
    pool = make_pool(1)
    bad = [
        pool.submit(pool_calls.identity, pool_calls.BadAtPickle()),
        pool.submit(lambda: 1),
        pool.submit(pool_calls.unpicklable_result),
    ]
    good = pool.submit(pool_calls.identity, 1)
    first, second, third = (future.exception(LONG) for future in bad)
    assert isinstance(first, ZeroDivisionError) and type(first.__cause__).__name__ == "_RemoteTraceback"
    assert "Can't pickle" in str(second) or "Can't get local object" in str(second)
    assert "lambda" in str(third)
    assert good.result(LONG) == 1


@pytest.mark.parametrize(
    ("call", "args"),
    [
        (pool_calls.die, ()),
        (pool_calls.leave, (0,)),
        (pool_calls.identity, (pool_calls.EndsAtUnpickle(),)),
        (pool_calls.identity, (pool_calls.BadAtUnpickle(),)),
        (pool_calls.bad_at_unpickle, ()),
        (pool_calls.raise_two_parts, ()),
    ],
    ids=["killed", "left", "ends at unpickling", "fails at unpickling", "result fails", "exception fails"],
)
def test_a_worker_that_cannot_go_on_breaks_the_pool(make_pool: MakePool, call: Any, args: Any) -> None:
    pool = make_pool(1)
    failing = pool.submit(call, *args)
    error = failing.exception(LONG)
    assert type(error) is BrokenProcessPool
    assert str(error) == (
        "A process in the process pool was terminated abruptly while the future was running or pending."
    )
    with pytest.raises(BrokenProcessPool, match="terminated abruptly, the process pool is not usable anymore"):
        pool.submit(pool_calls.identity, 1)


def test_every_future_of_a_broken_pool_fails(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    running = pool.submit(pool_calls.sleep_for_ever, str(tmp_path / "pid"))
    queued = [pool.submit(pool_calls.identity, number) for number in range(20)]
    os.kill(int(wait_for_file(tmp_path / "pid")), signal.SIGKILL)
    for future in [running, *queued]:
        assert isinstance(future.exception(LONG), BrokenProcessPool)


def test_an_idle_worker_that_is_killed_breaks_the_pool(make_pool: MakePool) -> None:
    pool = make_pool(2)
    pid = pool.submit(os.getpid).result(LONG)
    manager: Any = pool._executor_manager_thread
    os.kill(pid, signal.SIGKILL)
    manager.join(LONG)
    with pytest.raises(BrokenProcessPool):
        pool.submit(pool_calls.identity, 1)


def test_the_initializer_runs_in_every_worker(make_pool: MakePool) -> None:
    pool = make_pool(2, initializer=pool_calls.initialize, initargs=("told",))
    assert pool.submit(pool_calls.initialized).result(LONG) == ["told"]


def test_an_initializer_that_fails_breaks_the_pool(make_pool: MakePool) -> None:
    pool = make_pool(1, initializer=pool_calls.refuse_to_start)
    with pytest.raises(BrokenProcessPool):
        pool.submit(pool_calls.identity, 1).result(LONG)


@pytest.mark.parametrize(
    "arguments",
    [{"max_workers": 0}, {"max_workers": -1}, {"initializer": 5}, {"max_tasks_per_child": 0},
     {"max_tasks_per_child": "x"}, {"max_tasks_per_child": 1}],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_refused_in_the_same_words(arguments: dict[str, Any]) -> None:
    import multiprocessing

    raised = []
    for kind in KINDS:
        with pytest.raises((TypeError, ValueError)) as caught:
            kind(**{"mp_context": multiprocessing.get_context("fork"), **arguments})
        raised.append((caught.type, str(caught.value)))
    assert raised[0] == raised[1]


def test_submit_after_shutdown_is_refused(make_pool: MakePool) -> None:
    pool = make_pool(1)
    pool.shutdown()
    with pytest.raises(RuntimeError, match=r"^cannot schedule new futures after shutdown$"):
        pool.submit(pool_calls.identity, 1)
    pool.shutdown()


def test_shutdown_without_waiting_still_runs_what_is_queued(make_pool: MakePool) -> None:
    pool = make_pool(1)
    futures = [pool.submit(pool_calls.identity, number) for number in range(100)]
    pool.shutdown(wait=False)
    assert [future.result(LONG) for future in futures] == list(range(100))


def test_shutdown_cancels_what_is_queued_where_told_to(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    running = pool.submit(pool_calls.mark_then_wait, str(tmp_path / "pid"), str(tmp_path / "gate"))
    queued = [pool.submit(pool_calls.identity, number) for number in range(50)]
    wait_for_file(tmp_path / "pid")
    pool.shutdown(wait=False, cancel_futures=True)
    wait_until(queued[-1].cancelled)  # By the manager, a moment later.
    (tmp_path / "gate").touch()
    assert isinstance(running.result(LONG), int)
    for future in queued:
        with contextlib.suppress(concurrent.futures.CancelledError):
            future.result(LONG)
    assert sum(future.cancelled() for future in queued) > 40


def test_a_queued_call_can_be_cancelled_and_a_running_one_not(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    running = pool.submit(pool_calls.mark_then_wait, str(tmp_path / "pid"), str(tmp_path / "gate"))
    queued = [pool.submit(pool_calls.identity, number) for number in range(10)]
    wait_for_file(tmp_path / "pid")
    assert not running.cancel() and running.running()
    assert queued[-1].cancel()
    (tmp_path / "gate").touch()
    assert [future.result(LONG) for future in queued[:-1]] == list(range(9))
    with pytest.raises(concurrent.futures.CancelledError):
        queued[-1].result(LONG)


def test_a_thread_in_result_hears_of_a_cancellation(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(1)
    running = pool.submit(pool_calls.mark_then_wait, str(tmp_path / "pid"), str(tmp_path / "gate"))
    queued = [pool.submit(pool_calls.identity, number) for number in range(5)]
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            queued[-1].result(LONG)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    wait_for_file(tmp_path / "pid")
    assert queued[-1].cancel()
    thread.join(LONG)
    assert isinstance(outcome[0], concurrent.futures.CancelledError)
    (tmp_path / "gate").touch()
    assert isinstance(running.result(LONG), int)


def test_a_slow_call_does_not_hold_up_those_behind_it(make_pool: MakePool, tmp_path: Path) -> None:
    """Whoever was sent to the same worker moves to one that is free: the slow call waits for them."""
    pool = make_pool(2)
    assert list(pool.map(pool_calls.identity, range(500))) == list(range(500))  # The pool is sure of short calls.
    slow = pool.submit(pool_calls.mark_then_wait, str(tmp_path / "pid"), str(tmp_path / "gate"))
    others = [pool.submit(pool_calls.identity, number) for number in range(200)]
    opening = pool.submit(Path.touch, tmp_path / "gate")
    opening.result(LONG)
    assert [future.result(LONG) for future in others] == list(range(200))
    assert isinstance(slow.result(LONG), int)


def test_wait_and_as_completed_and_timeouts(make_pool: MakePool, tmp_path: Path) -> None:
    pool = make_pool(2)
    slow = pool.submit(pool_calls.mark_then_wait, str(tmp_path / "pid"), str(tmp_path / "gate"))
    quick = [pool.submit(pool_calls.identity, number) for number in range(20)]
    done, not_done = concurrent.futures.wait([slow, *quick], LONG, concurrent.futures.FIRST_COMPLETED)
    assert done and slow in not_done
    assert sorted(future.result() for future in concurrent.futures.as_completed(quick, LONG)) == list(range(20))
    with pytest.raises(concurrent.futures.TimeoutError):
        slow.result(0.05)
    (tmp_path / "gate").touch()
    assert concurrent.futures.wait([slow], LONG).done == {slow}


def test_callbacks_run_in_order_and_outside_of_the_callers_thread(make_pool: MakePool) -> None:
    pool = make_pool(1)
    ran: list[tuple[int, bool]] = []
    finished = threading.Event()
    future = pool.submit(pool_calls.mark_then_wait, os.devnull, os.devnull)
    for number in range(3):
        future.add_done_callback(partial(lambda number, done: ran.append((number, done.done())), number))
    future.add_done_callback(lambda _: finished.set())
    assert finished.wait(LONG)
    assert ran == [(0, True), (1, True), (2, True)]


def test_a_callback_may_submit(make_pool: MakePool) -> None:
    pool = make_pool(1)
    second: list[concurrent.futures.Future[int]] = []
    submitted = threading.Event()

    def follow(future: concurrent.futures.Future[int]) -> None:
        second.append(pool.submit(pool_calls.add, future.result()))
        submitted.set()

    pool.submit(pool_calls.add, 1).add_done_callback(follow)
    assert submitted.wait(LONG)
    assert second[0].result(LONG) == 3


def test_many_threads_submit_and_wait(make_pool: MakePool) -> None:
    pool = make_pool(2)
    wrong: list[object] = []

    def work(base: int) -> None:
        for number in range(base, base + 200):
            if pool.submit(pool_calls.add, number).result(LONG) != number + 1:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(1000 * number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert not wrong and not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("chunksize", [1, 7, 1000])
def test_map_keeps_the_order(make_pool: MakePool, chunksize: int) -> None:
    pool = make_pool(2)
    assert list(pool.map(pool_calls.add, range(300), range(300), chunksize=chunksize)) == list(range(0, 600, 2))


def test_a_pool_inside_a_worker(make_pool: MakePool) -> None:
    kind = KINDS[0] if type(make_pool()) is KINDS[0] else KINDS[1]
    assert make_pool(1).submit(pool_calls.nested, kind, 4).result(LONG) == 5


SCRIPTS = {
    "pending at exit": """
        pool = Pool(1)
        future = pool.submit(print, "ran", flush=True)
        more = [pool.submit(print, number, flush=True) for number in range(5)]
    """,
    "dropped": """
        pool = Pool(1)
        futures = [pool.submit(abs, -number) for number in range(20)]
        del pool
        print([future.result(30) for future in futures] == list(range(20)))
    """,
    "shut down without waiting": """
        pool = Pool(1)
        pool.submit(print, "ran", flush=True)
        pool.shutdown(wait=False)
    """,
    "submit at exit": """
        import atexit
        def late():
            try:
                pool.submit(abs, -1)
            except RuntimeError as error:
                print(error)
        atexit.register(late)
        pool = Pool(1)
        print(pool.submit(abs, -1).result(30))
    """,
    "fork while busy": """
        import os
        pool = Pool(1)
        futures = [pool.submit(abs, -number) for number in range(500)]
        if (pid := os.fork()) == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        print([future.result(30) for future in futures] == list(range(500)))
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_end_of_a_program(name: str) -> None:
    """Both print the same and end by themselves; ours says nothing else (3.11's own may, when dropped)."""
    import textwrap

    outcomes = []
    for module in ("concurrent.futures", "unirun.executors.processes"):
        head = f"from {module} import ProcessPoolExecutor as Pool\n"
        script = head + textwrap.dedent(SCRIPTS[name])
        ended = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=2 * LONG
        )
        outcomes.append((ended.returncode, ended.stdout, ended.stderr))
    assert outcomes[0][:2] == outcomes[1][:2]
    assert outcomes[1][0] == 0 and outcomes[1][1] and not outcomes[1][2]
