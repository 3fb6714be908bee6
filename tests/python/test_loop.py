"""Callbacks, time and threads on unirun's loop, what goes wrong there, and what it costs. CPython's own suite is in
test_cpython_asyncio.py."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import subprocess
import sys
import threading
import time
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import unirun
from loops import DEADLINE, run, run_round

pytestmark = pytest.mark.native


# ---- Callbacks ----


def test_callbacks_run_in_their_order_in_their_context(loop: asyncio.AbstractEventLoop) -> None:
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
    seen: list[Any] = []
    variable.set(1)
    loop.call_soon(lambda: seen.append(variable.get()))
    variable.set(2)
    loop.call_soon(lambda a, b: seen.append((a, b, variable.get())), "a", "b")
    own = contextvars.copy_context()
    own.run(variable.set, 3)
    loop.call_soon(lambda: seen.append(variable.get()), context=own)
    loop.call_soon(callback=lambda: seen.append("by name"))
    variable.set(4)
    run_round(loop)
    assert seen == [1, ("a", "b", 2), 3, "by name"]


def test_a_callback_that_is_added_meanwhile_waits_for_the_next_round(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        loop.call_soon(seen.append, "later")
        loop.call_soon(loop.stop)

    loop.call_soon(first)
    loop.call_soon(seen.append, "now")
    run_round(loop)
    assert seen == ["now"]
    loop.run_forever()
    assert seen == ["now", "later"]


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda loop: loop.call_soon(), "call_soon.. missing required argument: 'callback'"),
        (lambda loop: loop.call_soon(print, colour=1), "call_soon.. got an unexpected keyword argument 'colour'"),
        (lambda loop: loop.call_later(1), "call_later.. missing required argument: 'callback'"),
        (lambda loop: loop.call_later(None, print), "delay must not be None"),
        (lambda loop: loop.call_at(None, print), "when cannot be None"),
        (lambda loop: loop.call_at(1, print, when=2), "multiple values for argument 'when'"),
        (lambda loop: loop.call_at("soon", print), "must be real number, not str"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    loop: asyncio.AbstractEventLoop, call: Callable[[Any], None], error: str
) -> None:
    with pytest.raises(TypeError, match=error):
        call(loop)


def test_handles_are_asyncios(loop: asyncio.AbstractEventLoop) -> None:
    handle = loop.call_soon(print, "x")
    earliest = loop.time() + 60
    timer = loop.call_later(60, print, "x")
    latest = loop.time() + 60
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert repr(handle) == "<Handle print('x')>" or sys.version_info >= (3, 13)
    assert "when=" in repr(timer)
    assert earliest <= timer.when() <= latest
    assert timer > loop.call_at(1.0, print)
    for each in (handle, timer):
        reference = weakref.ref(each)
        assert reference() is each
        assert not each.cancelled()
        each.cancel()
        each.cancel()
        assert each.cancelled()
        assert "cancelled" in repr(each)
    run_round(loop)


def test_a_handle_comes_from_a_loop_only() -> None:
    from unirun import _core

    with pytest.raises(TypeError):
        _core.LoopHandle(print, (), None)  # type: ignore[arg-type]


def test_a_callback_may_cancel_itself_and_the_next(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[str] = []

    def first() -> None:
        own.cancel()
        following.cancel()
        seen.append("first")

    own = loop.call_soon(first)
    following = loop.call_soon(seen.append, "second")
    run_round(loop)
    assert seen == ["first"]


# ---- Time ----


def test_timers_come_in_their_order_and_never_early(loop: asyncio.AbstractEventLoop) -> None:
    fired: list[tuple[int, float]] = []
    now = loop.time()

    def fire(i: int, when: float) -> None:
        fired.append((i, loop.time() - when))

    for i in (5, 3, 1, 4, 2, 0):
        when = now + i * 0.002
        loop.call_at(when, fire, i, when)
    loop.call_at(now + 0.02, loop.stop)
    loop.run_forever()
    assert [i for i, _ in fired] == [0, 1, 2, 3, 4, 5]
    assert min(late for _, late in fired) >= 0


def test_equal_timers_come_in_the_order_of_their_start(loop: asyncio.AbstractEventLoop) -> None:
    fired: list[int] = []
    when = loop.time() + 0.001
    for i in range(100):
        loop.call_at(when, fired.append, i)
    loop.call_at(when + 0.001, loop.stop)
    loop.run_forever()
    assert fired == list(range(100))


def test_timers_that_were_cancelled_are_forgotten(loop: asyncio.AbstractEventLoop) -> None:
    class Payload:
        pass

    references = []
    for _ in range(10_000):
        payload = Payload()
        references.append(weakref.ref(payload))
        loop.call_later(3600, print, payload).cancel()
    del payload
    assert not any(reference() for reference in references)
    run_round(loop)


def test_time_that_a_subclass_tells_is_the_loops() -> None:
    from unirun.loop import EventLoop

    class Late(EventLoop):
        def time(self) -> float:
            return super().time() + 1000

    loop = Late()
    handle = loop.call_later(1, print)
    assert handle.when() >= time.monotonic() + 1000
    loop.close()


def test_a_timer_that_is_due_before_the_loop_waits_is_not_lost() -> None:
    async def main() -> None:
        for i in range(2_000):
            await asyncio.sleep(i % 100 * 1e-6 + 1e-10)

    run(main())


@pytest.mark.parametrize("when", [float("nan"), -1.0, 0, -(10**30)])
def test_a_time_that_is_past_or_no_time_is_now(loop: asyncio.AbstractEventLoop, when: float) -> None:
    loop.call_at(when, loop.stop)
    loop.run_forever()


def test_a_time_without_end_never_comes(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_at(float("inf"), pytest.fail)
    loop.call_later(10**15, pytest.fail)
    loop.call_later(0.002, loop.stop)
    loop.run_forever()


# ---- Threads ----


def test_calls_from_many_threads_arrive_whole_and_in_each_ones_order() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        seen: list[tuple[int, int]] = []
        done = asyncio.Event()

        def arrive(thread: int, i: int) -> None:
            seen.append((thread, i))
            if len(seen) == 4 * 2000:
                done.set()

        def send(thread: int) -> None:
            for i in range(2000):
                loop.call_soon_threadsafe(arrive, thread, i)

        threads = [threading.Thread(target=send, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        await done.wait()
        for thread in threads:
            thread.join()
        for n in range(4):
            assert [i for thread, i in seen if thread == n] == list(range(2000))

    run(main())


def test_a_call_from_a_thread_wakes_a_loop_that_waits(loop: asyncio.AbstractEventLoop) -> None:
    for _ in range(50):
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(loop.stop,))
        loop.call_soon(thread.start)
        loop.run_forever()
        thread.join()


def test_to_thread_task_group_and_timeout() -> None:
    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.to_thread(pow, i, 2)) for i in range(10)]
        assert [task.result() for task in tasks] == [i * i for i in range(10)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005):
                await asyncio.Event().wait()

    run(main())


def test_the_gil_is_free_while_the_loop_waits(loop: asyncio.AbstractEventLoop) -> None:
    stop = threading.Event()
    counted = 0

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            if counted == 100_000:
                loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=count)
    thread.start()
    loop.run_forever()
    stop.set()
    thread.join()
    assert counted >= 100_000


# ---- What goes wrong ----


def test_an_exception_in_a_callback_goes_to_the_exception_handler(loop: asyncio.AbstractEventLoop) -> None:
    seen: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: seen.append(context))

    def divide() -> None:
        1 / 0  # noqa: B018

    handle = loop.call_soon(divide)
    loop.call_soon(lambda: seen.append({"after": True}))
    run_round(loop)
    assert isinstance(seen[0]["exception"], ZeroDivisionError)
    assert seen[0]["handle"] is handle
    assert seen[0]["message"].startswith("Exception in callback test_an_exception_in_a_callback")
    assert seen[1] == {"after": True}


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("debug", [False, True])
def test_what_is_to_end_the_program_leaves_the_loop(
    loop: asyncio.AbstractEventLoop, error: type[BaseException], debug: bool
) -> None:
    seen: list[str] = []

    def end() -> None:
        raise error("the end")

    loop.set_debug(debug)
    loop.call_soon(end)
    loop.call_soon(seen.append, "kept for the next run")
    with pytest.raises(error, match="the end"):
        loop.run_forever()
    assert not loop.is_running()
    run_round(loop)
    assert seen == ["kept for the next run"]


def run_another(_: asyncio.AbstractEventLoop) -> None:
    other = unirun.new_event_loop()
    try:
        other.run_forever()
    finally:
        other.close()


@pytest.mark.parametrize(
    ("misuse", "words"),
    [
        (lambda loop: loop.run_forever(), "already running"),
        (run_another, "while another loop is running"),
        (lambda loop: loop.close(), "Cannot close a running"),
    ],
)
def test_a_loop_does_not_run_twice_nor_inside_another(
    loop: asyncio.AbstractEventLoop, misuse: Callable[[asyncio.AbstractEventLoop], None], words: str
) -> None:
    """One misuse a loop: on CPython 3.13.0 a refused run_forever() forgets which loop runs."""

    async def main() -> None:
        with pytest.raises(RuntimeError, match=words):
            misuse(loop)

    loop.run_until_complete(main())


def test_a_closed_loop_says_so(loop: asyncio.AbstractEventLoop) -> None:
    loop.close()
    loop.close()
    assert loop.is_closed()
    for call in (
        lambda: loop.call_soon(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_soon_threadsafe(print),
        loop.run_forever,
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()


def test_a_loop_that_is_dropped_open_warns() -> None:
    def drop() -> None:
        unirun.new_event_loop()
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        drop()


def test_debug_mode_checks_threads_and_callbacks_and_names_the_slow(
    loop: asyncio.AbstractEventLoop, caplog: pytest.LogCaptureFixture
) -> None:
    errors: list[Exception] = []
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0

    def elsewhere() -> None:
        try:
            loop.call_soon(print)
        except RuntimeError as error:
            errors.append(error)
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=elsewhere)
    loop.call_soon(thread.start)
    loop.run_forever()
    thread.join()
    assert "Non-thread-safe operation" in str(errors[0])
    with pytest.raises(TypeError, match="coroutines cannot be used"):
        loop.call_soon(asyncio.sleep)  # type: ignore[arg-type]
    assert f"created at {__file__}" in repr(loop.call_soon(int))
    assert any("took" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("debug", [False, True])
def test_a_task_that_fails_unheard_is_told_at_once(loop: asyncio.AbstractEventLoop, debug: bool) -> None:
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))
    loop.set_debug(debug)

    async def fail() -> None:
        raise ValueError("unheard")

    async def main() -> None:
        asyncio.tasks._PyTask(fail())  # type: ignore[attr-defined]
        await asyncio.sleep(0)
        assert [str(error) for error in told] == ["unheard"]

    loop.run_until_complete(main())


# ---- What it costs ----


def test_a_million_callbacks_leave_nothing_behind(loop: asyncio.AbstractEventLoop) -> None:
    left = 0
    argument = object()

    def again(_: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            loop.stop()
            return
        loop.call_soon(again, argument)
        loop.call_soon(int).cancel()
        loop.call_later(60, again, argument).cancel()
        if left % 1000 == 0:
            loop.call_later(0, int)

    def go(count: int) -> None:
        nonlocal left
        left = count
        loop.call_soon(again, argument)
        loop.run_forever()

    go(5_000)
    references = sys.getrefcount(argument)
    tracemalloc.start()
    go(5_000)
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    go(300_000)  # Three handles each.
    tracemalloc.start()
    go(5_000)
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert sys.getrefcount(argument) == references
    assert after <= before + 50_000


def test_a_loop_in_a_cycle_is_collected() -> None:
    def make() -> weakref.ref[asyncio.AbstractEventLoop]:
        loop = unirun.new_event_loop()
        loop.call_soon(lambda: loop)
        loop.call_later(60, lambda: loop)
        run_round(loop)
        loop.call_soon(lambda: loop)
        loop.close()
        return weakref.ref(loop)

    reference = make()
    gc.collect()
    assert reference() is None


def test_loops_leave_no_descriptor_behind() -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    run(asyncio.sleep(0))
    before = count()
    for _ in range(20):
        run(asyncio.sleep(0.0001))
    assert count() <= before


def test_an_idle_loop_sleeps(loop: asyncio.AbstractEventLoop) -> None:
    import resource

    loop.call_later(1, print).cancel()
    loop.call_later(0.3, loop.stop)
    before = resource.getrusage(resource.RUSAGE_THREAD)
    loop.run_forever()
    after = resource.getrusage(resource.RUSAGE_THREAD)
    assert after.ru_nvcsw - before.ru_nvcsw <= 5


def test_a_forked_child_that_drops_the_loop_does_not_disturb_the_parent() -> None:
    script = """
import asyncio, os, unirun
async def main():
    loop = asyncio.get_running_loop()
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        loop._thread_id = None
        loop.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    await asyncio.sleep(0.005)
    assert await asyncio.to_thread(lambda: 7) == 7
    reader, writer = os.pipe()
    got = loop.create_future()
    loop.add_reader(reader, lambda: got.done() or got.set_result(1))
    os.write(writer, b"x")
    await got
    print("fine")
with unirun.Runner() as runner:
    runner.run(main())
"""
    said = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, timeout=DEADLINE
    )
    assert (said.stdout, said.returncode) == ("fine\n", 0), said.stderr
