"""`unirun.to_thread`: from asyncio to the shared threads and back."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import unirun

PATIENCE = 30.0
word: contextvars.ContextVar[str] = contextvars.ContextVar("word", default="none")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    unirun.reset()


@pytest.fixture(params=[asyncio.new_event_loop, unirun.new_event_loop], ids=["asyncio", "unirun"])
def run(request: pytest.FixtureRequest) -> Callable[[Any], Any]:
    def run_in_loop(coroutine: Any) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(coroutine, PATIENCE))

    return run_in_loop


def test_arguments_go_in_and_the_result_comes_out(run: Callable[[Any], Any]) -> None:
    async def main() -> tuple[Any, str]:
        return await unirun.to_thread(dict, [("a", 1)], b=2), await unirun.to_thread(
            lambda: threading.current_thread().name
        )

    result, thread = run(main())
    assert result == {"a": 1, "b": 2}
    assert thread.startswith("unirun-thread")


@pytest.mark.parametrize("result", [(), (1,), (1, 2, 3), {"a": 1}, None])
def test_a_result_comes_back_whatever_it_is(run: Callable[[Any], Any], result: object) -> None:
    async def main() -> object:
        return await unirun.to_thread(lambda: result)

    assert run(main()) == result


def test_the_callers_context_variables_are_there_and_changes_stay_there(run: Callable[[Any], Any]) -> None:
    def exchange() -> str:
        before = word.get()
        word.set("changed")
        return before

    async def main() -> list[str]:
        word.set("told")
        return [await unirun.to_thread(exchange), await unirun.to_thread(exchange), word.get()]

    assert run(main()) == ["told", "told", "told"]


def test_an_exception_comes_back_with_its_traceback(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        await unirun.to_thread(divmod, 1, 0)

    with pytest.raises(ZeroDivisionError):
        run(main())


def test_an_exception_that_no_future_may_hold_is_told_as_another(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        await unirun.to_thread(next, iter(()))

    with pytest.raises((TypeError, RuntimeError), match="StopIteration"):
        run(main())


def test_thousands_at_once_all_come_back(run: Callable[[Any], Any]) -> None:
    async def main() -> list[int]:
        return await asyncio.gather(*(unirun.to_thread(abs, -number) for number in range(5_000)))

    assert run(main()) == list(range(5_000))


def test_nothing_happens_before_somebody_waits(run: Callable[[Any], Any]) -> None:
    ran: list[int] = []

    async def main() -> None:
        await unirun.to_thread(int)
        for let_go in (lambda call: call.close(), lambda call: call.cancel(), id):
            let_go(unirun.to_thread(ran.append, 1))
        closed = unirun.to_thread(ran.append, 1)
        closed.close()
        with pytest.raises(asyncio.CancelledError):
            await closed

    run(main())
    unirun.reset()
    assert ran == []


def test_it_is_a_coroutine_to_whom_wants_one_and_a_future_to_gather(run: Callable[[Any], Any]) -> None:
    async def main() -> None:
        assert await asyncio.create_task(unirun.to_thread(abs, -1), name="named") == 1
        assert await asyncio.shield(unirun.to_thread(abs, -2)) == 2
        assert await asyncio.wait_for(unirun.to_thread(abs, -3), PATIENCE) == 3
        async with asyncio.TaskGroup() as group:
            member = group.create_task(unirun.to_thread(abs, -4))
        assert member.result() == 4
        calls = [unirun.to_thread(abs, -number) for number in range(3)]
        before = asyncio.all_tasks()
        gathered = asyncio.gather(*calls)
        assert asyncio.all_tasks() == before
        assert await gathered == [0, 1, 2] and [call.send for call in calls]

    run(main())
    assert asyncio.run(unirun.to_thread(abs, -5)) == 5


def test_a_task_of_it_is_cancelled_as_any_other(run: Callable[[Any], Any]) -> None:
    gate = threading.Event()

    async def main() -> None:
        task = asyncio.create_task(unirun.to_thread(gate.wait, PATIENCE))
        at_once = asyncio.create_task(unirun.to_thread(int))
        at_once.cancel()
        await asyncio.sleep(0)
        task.cancel()
        for cancelled in (task, at_once):
            with pytest.raises(asyncio.CancelledError):
                await cancelled
        gate.set()

    run(main())


def test_the_standard_machinery_serves_it_as_well(run: Callable[[Any], Any]) -> None:
    async def main() -> tuple[str, str]:
        word.set("told")
        with pytest.raises(ZeroDivisionError):
            await unirun.to_thread(divmod, 1, 0)
        return await unirun.to_thread(word.get), type(unirun.thread_executor()).__module__

    unirun.configure(unirun.RuntimeConfig(engine="stdlib"))
    try:
        assert run(main()) == ("told", "concurrent.futures.thread")
    finally:
        unirun.configure(unirun.RuntimeConfig())


def test_who_is_cancelled_waits_no_longer_and_what_has_not_begun_never_does(run: Callable[[Any], Any]) -> None:
    gate = threading.Event()
    ran: list[int] = []

    async def main() -> None:
        crowd = [asyncio.ensure_future(unirun.to_thread(gate.wait, PATIENCE)) for _ in range(100)]
        late = asyncio.ensure_future(unirun.to_thread(ran.append, 1))
        await asyncio.sleep(0)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        gate.set()
        assert all(await asyncio.gather(*crowd))

    run(main())
    unirun.reset()
    assert ran == []


def test_loops_of_several_threads_do_not_mix() -> None:
    def loop_of_its_own(number: int, seen: list[int]) -> None:
        async def main() -> None:
            for _ in range(200):
                seen.append(await unirun.to_thread(abs, -number))

        asyncio.run(main())

    seen: list[list[int]] = [[] for _ in range(4)]
    threads = [threading.Thread(target=loop_of_its_own, args=(n, seen[n])) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert seen == [[number] * 200 for number in range(4)]


def test_a_loop_that_ends_before_its_call_is_let_go_with_its_descriptor() -> None:
    gate = threading.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(unirun.to_thread(gate.wait, PATIENCE), 0.01)

    async def nothing() -> None:
        await unirun.to_thread(int)

    asyncio.run(nothing())
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    gate.set()
    unirun.reset()
    gone = weakref.ref(loops.pop())
    asyncio.run(nothing())  # This thread remembers the last loop.
    gc.collect()
    assert gone() is None
    assert len(os.listdir("/proc/self/fd")) <= before
