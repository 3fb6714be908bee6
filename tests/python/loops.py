"""What the tests of the loop share: running a coroutine, a deadline for everything that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import unirun

DEADLINE = 60.0


def run(coroutine: Coroutine[Any, Any, Any], debug: bool = False) -> Any:
    with unirun.Runner(debug=debug) as runner:
        return runner.run(asyncio.wait_for(coroutine, DEADLINE))


def run_round(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()
