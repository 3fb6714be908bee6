"""asyncio on unirun's loop, alone and attached to a host's."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

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
    host.detach(5)
    assert seen == [True, True, "cancelled"]
    assert loop.is_closed()


def test_a_guest_cannot_stop_its_host() -> None:
    from unirun import _core

    host = _core.HostedLoop()
    for call in (host.loop.stop, host.loop.run_forever, host.loop.close):
        with pytest.raises(RuntimeError, match="is the host's to do"):
            call()
    host.detach(5)
