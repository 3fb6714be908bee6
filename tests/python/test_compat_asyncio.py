"""`unirun.compat.asyncio`: the threads behind a loop are those of a managed pool, and end with the loop."""

from __future__ import annotations

import asyncio as standard
import contextvars
import inspect
import threading
import time
from concurrent import futures
from typing import Any

import pytest

import unirun
from compat_programs import ran, said
from unirun.compat import ThreadPoolExecutor, asyncio
from unirun.compat.loops import run_in_executor

PATIENCE = 60.0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="nothing")


def where() -> str:
    return threading.current_thread().name


def test_to_thread_runs_in_the_loops_pool_which_is_managed() -> None:
    async def main() -> str:
        name = await asyncio.to_thread(where)
        assert type(asyncio.get_running_loop()._default_executor) is ThreadPoolExecutor  # type: ignore[attr-defined]
        return name

    assert asyncio.run(main()) == "asyncio_0"


def test_run_in_executor_without_an_executor_uses_the_managed_pool() -> None:
    async def main() -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        first = await loop.run_in_executor(None, where)
        assert type(loop._default_executor) is ThreadPoolExecutor  # type: ignore[attr-defined]
        return first, await run_in_executor(None, where)

    assert asyncio.run(main()) == ("asyncio_0", "asyncio_0")


@pytest.mark.parametrize("make", [
    asyncio.new_event_loop, standard.new_event_loop,
    pytest.param(lambda: unirun.new_event_loop(), marks=pytest.mark.native),
], ids=["compat", "standard", "unirun"])  # fmt: skip
def test_any_loop_of_asyncio_gets_a_managed_pool(make: Any) -> None:
    loop = make()

    async def main() -> int:
        assert await asyncio.to_thread(divmod, 7, 3) == (2, 1)
        return await asyncio.get_running_loop().run_in_executor(None, int, "8")

    try:
        assert loop.run_until_complete(main()) == 8
        assert type(loop._default_executor) is ThreadPoolExecutor
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def test_an_executor_that_the_program_has_set_is_used() -> None:
    async def main() -> tuple[str, str]:
        loop = standard.get_running_loop()
        loop.set_default_executor(futures.ThreadPoolExecutor(thread_name_prefix="own"))
        return await asyncio.to_thread(where), await asyncio.get_running_loop().run_in_executor(None, where)

    assert asyncio.run(main()) == ("own_0", "own_0")


def test_context_variables_and_keywords_arrive() -> None:
    def told(*args: int, **kwargs: int) -> tuple[Any, Any, str]:
        before = variable.get()
        variable.set("changed in the thread")
        return args, kwargs, before

    async def main() -> None:
        variable.set("the caller's")
        assert await asyncio.to_thread(told, 1, func=2, loop=3) == ((1,), {"func": 2, "loop": 3}, "the caller's")
        assert variable.get() == "the caller's"

    asyncio.run(main())


def test_what_is_raised_arrives() -> None:
    def fail() -> None:
        raise LookupError("not here")

    async def main() -> None:
        with pytest.raises(LookupError, match="not here"):
            await asyncio.to_thread(fail)

    asyncio.run(main())


def test_threads_end_with_the_loop() -> None:
    async def main() -> list[threading.Thread]:
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0) for _ in range(20)))
        return [each for each in threading.enumerate() if each.name.startswith("asyncio_")]

    threads = asyncio.run(main())
    assert threads and not any(each.is_alive() for each in threads)


def test_who_is_cancelled_waits_no_longer_and_what_has_not_begun_never_does() -> None:
    released = threading.Event()
    begun: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        first = asyncio.create_task(asyncio.to_thread(released.wait, PATIENCE))
        second = asyncio.create_task(asyncio.to_thread(begun.append, 1))
        while not getattr(loop, "_default_executor")._threads:  # noqa: B009
            await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        released.set()
        assert await first is True

    asyncio.run(main())
    assert not begun


def test_a_loop_whose_executor_is_shut_down_refuses_as_ever() -> None:
    async def refusal(to_thread: Any) -> str:
        loop = standard.get_running_loop()
        await loop.shutdown_default_executor()
        with pytest.raises(RuntimeError) as refused:
            await to_thread(int)
        return str(refused.value)

    assert asyncio.run(refusal(asyncio.to_thread)) == standard.run(refusal(standard.to_thread))


def test_debug_mode_and_own_ways_of_a_loop_are_kept() -> None:
    calls: list[str] = []

    class Loop(standard.SelectorEventLoop):
        def run_in_executor(self, executor: Any, func: Any, *args: Any) -> Any:  # type: ignore[override]
            calls.append(func.__class__.__name__)
            return super().run_in_executor(executor, func, *args)

    loop = Loop()
    try:
        assert loop.run_until_complete(asyncio.to_thread(int, "3")) == 3
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    assert calls == ["partial"]
    assert asyncio.run(asyncio.to_thread(int, "4"), debug=True) == 4


def test_the_functions_have_the_standard_signatures() -> None:
    for name in ("to_thread", "get_running_loop", "get_event_loop", "new_event_loop"):
        ours, theirs = getattr(asyncio, name), getattr(standard, name)
        assert inspect.signature(ours) == inspect.signature(theirs)
        assert ours.__name__ == theirs.__name__
    assert inspect.iscoroutinefunction(asyncio.to_thread)


def test_outside_of_a_loop_they_refuse_as_ever() -> None:
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_warning_or_an_error_for_want_of_a_loop_is_the_callers_as_ever() -> None:
    # Up to 3.11 nothing is said, 3.12 and 3.13 warn where there is none, later ones refuse.
    source = """
        {}
        try:
            asyncio.get_event_loop().close()
        except RuntimeError as error:
            print(error)
    """
    theirs, ours = (
        ran(source.format(line), "-W", "always") for line in ("import asyncio", "from unirun.compat import asyncio")
    )
    assert (ours.stdout, ours.stderr) == (theirs.stdout, theirs.stderr)


def test_injected_asyncio_makes_its_own_pool_when_it_needs_one() -> None:
    source = """
        import asyncio
        async def main():
            loop = asyncio.get_running_loop()
            print(loop._default_executor)
            await loop.run_in_executor(None, int)
            print(type(loop._default_executor).__mro__[1].__module__)
        asyncio.run(main())
    """
    assert said(source, UNIRUN_COMPAT_INJECT="1") == ["None", "unirun.executors.threads"]
