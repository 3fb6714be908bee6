"""asyncio as a guest on the loop of a host."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from loops import DEADLINE

pytestmark = pytest.mark.native


def test_a_guest_runs_on_the_turns_of_a_host() -> None:
    from unirun import _core

    host = _core.HostedLoop()
    loop = host.loop
    seen: list[Any] = []

    async def work() -> None:
        seen.append(asyncio.get_running_loop() is loop)
        await asyncio.sleep(0.001)
        seen.append(await asyncio.to_thread(threading.get_ident) != threading.get_ident())
        server = await asyncio.start_server(lambda _, w: w.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        seen.append(await reader.read())
        writer.close()
        server.close()
        host.stop()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            seen.append("cancelled")

    endless = loop.create_task(forever())
    done = loop.create_task(work())
    host.run()
    assert done.done()
    assert not endless.done()
    host.detach(DEADLINE)
    assert seen == [True, True, b"", "cancelled"]
    assert loop.is_closed()


def test_a_guest_lives_in_a_thread_that_python_has_never_seen() -> None:
    from unirun import _core

    seen: list[str] = []

    def serve() -> None:
        host = _core.HostedLoop()
        host.loop.call_later(0.001, host.stop)
        host.loop.call_soon(seen.append, "ran")
        host.run()
        host.detach(DEADLINE)

    thread = threading.Thread(target=serve)
    thread.start()
    thread.join()
    assert seen == ["ran"]


def test_what_other_threads_give_a_guest_wakes_its_host() -> None:
    from unirun import _core

    host = _core.HostedLoop()
    seen = []

    def arrive(i: int) -> None:
        seen.append(i)
        if i == 9_999:
            host.stop()

    def send() -> None:
        for i in range(10_000):
            host.loop.call_soon_threadsafe(arrive, i)

    thread = threading.Thread(target=send)
    thread.start()
    host.run()
    thread.join()
    host.detach(DEADLINE)
    assert seen == list(range(10_000))


def test_a_guest_cannot_stop_its_host() -> None:
    from unirun import _core

    host = _core.HostedLoop()
    for call in (host.loop.stop, host.loop.run_forever, host.loop.close):
        with pytest.raises(RuntimeError, match="is the host's to do"):
            call()
    host.detach(DEADLINE)


def test_what_would_end_a_program_does_not_end_a_host() -> None:
    from unirun import _core

    host = _core.HostedLoop()
    seen: list[BaseException] = []
    host.loop.set_exception_handler(lambda _, context: seen.append(context["exception"]))

    def end() -> None:
        raise SystemExit(3)

    host.loop.call_soon(end)
    host.loop.call_later(0.001, host.stop)
    host.run()
    host.detach(DEADLINE)
    assert [type(error) for error in seen] == [SystemExit]


def test_a_task_that_ignores_its_cancellation_is_named_and_left(caplog: pytest.LogCaptureFixture) -> None:
    from unirun import _core

    host = _core.HostedLoop()

    async def deaf() -> None:
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    task = host.loop.create_task(deaf(), name="the deaf one")
    host.loop.call_later(0.001, host.stop)
    host.run()
    host.detach(0.01)
    assert not task.done()
    assert any("the deaf one" in record.getMessage() and "is left" in record.getMessage() for record in caplog.records)
    task._log_destroy_pending = False  # type: ignore[attr-defined]
