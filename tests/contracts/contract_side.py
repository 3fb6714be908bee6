"""What every interpreter of a cell does first: finds the tests, and takes its side.

`suites.py` has it called from a .pth file of the cell's virtual environment, so that it happens in each of them: in
children too, also those started with -I or without environment, and in subinterpreters.

standard     nothing: the standard library as it is
managed      unirun.compat stands under the standard names
passthrough  the same, with UNIRUN_COMPAT_MODE=passthrough
native       managed, and in the process that runs a suite `Future` itself is unirun's class, for suites make futures by
             that name, and so is `InterpreterPoolExecutor`, which compat leaves standard
loop         standard but for asyncio's loops, which are unirun's, in the process that runs a suite
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

SIDES = ("standard", "managed", "passthrough", "native", "loop")


def enter(side: str, tests: str) -> None:
    sys.path.insert(0, tests)
    vars(sys)["_unirun_contract_side"] = side
    if side in ("standard", "loop"):
        return
    os.environ["UNIRUN_COMPAT_MODE"] = "passthrough" if side == "passthrough" else "managed"
    os.environ["UNIRUN_COMPAT_INJECT"] = "1"  # Which unirun-compat.pth, the next one, reads.


def begin() -> None:
    """Call it in the process that runs a suite, before it is imported. Raises if the side was not taken."""
    side = vars(sys)["_unirun_contract_side"]
    if side == "native":
        make_futures_ours()
    found = {**facts(), "asyncio.to_thread": engine_of_to_thread()}
    wanted = expected(side)
    wanted["asyncio.to_thread"] = wanted["concurrent.futures"]
    if side == "native":
        wanted["Future"] = "native"
    assert found == wanted, f"the redirection did not take: {found}, not {wanted}"
    if side == "loop":
        make_loops_ours()


def make_futures_ours() -> None:
    from concurrent import futures

    from unirun.executors.futures import Future

    names = vars(futures)
    names["Future"] = vars(futures._base)["Future"] = Future
    if hasattr(futures, "InterpreterPoolExecutor") and getattr(sys, "_is_gil_enabled", bool)():
        names["InterpreterPoolExecutor"] = import_module("unirun.executors.interpreters").InterpreterPoolExecutor


def make_loops_ours() -> None:
    """Wherever a test may get a loop from, it gets one of ours: by name, from the policy or its own way."""
    import asyncio
    from asyncio import unix_events

    from unirun.loop import EventLoop

    class Redirected(EventLoop):
        def __init__(self, selector: Any = None) -> None:
            # Some tests run on select() and on poll() too, which are no descriptors: they get the default.
            if selector is not None and not hasattr(selector, "fileno"):
                selector.close()
                selector = None
            super().__init__(selector)

    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop", "_UnixSelectorEventLoop"):
            if hasattr(module, name):
                setattr(module, name, Redirected)
    names = vars(unix_events)  # Its name changed in 3.14.
    policy = names.get("_UnixDefaultEventLoopPolicy") or names["_DefaultEventLoopPolicy"]
    policy._loop_factory = Redirected
    loop = asyncio.new_event_loop()
    assert type(loop) is Redirected, loop
    loop.close()


def facts() -> dict[str, Any]:
    """What the standard names lead to in this very interpreter."""
    import concurrent.futures as dotted
    from concurrent import futures
    from concurrent.futures import ThreadPoolExecutor

    return {
        "side": vars(sys).get("_unirun_contract_side"),
        "unirun": any(name.split(".")[0] == "unirun" for name in sys.modules),
        "concurrent.futures": engine(dotted.ThreadPoolExecutor),
        "from concurrent import futures": engine(futures.ThreadPoolExecutor),
        "from concurrent.futures import": engine(ThreadPoolExecutor),
        "ProcessPoolExecutor": engine(futures.ProcessPoolExecutor),
        "Future": engine(dotted._base.Future),
    }


def engine_of_to_thread() -> str:
    import asyncio

    loop = asyncio.SelectorEventLoop()  # Not by new_event_loop(): some tests want that no policy is set.
    loop.run_until_complete(asyncio.to_thread(int))
    default = loop._default_executor  # type: ignore[attr-defined]
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    return engine(type(default))


def engine(cls: type) -> str:
    """Whether a class stands on an engine of ours."""
    return "native" if any(base.__module__ == "unirun._pools" for base in cls.__mro__) else "standard"


def expected(side: str) -> dict[str, Any]:
    pools = "native" if side in ("managed", "native") else "standard"
    return {
        "side": side,
        "unirun": side not in ("standard", "loop"),
        "concurrent.futures": pools,
        "from concurrent import futures": pools,
        "from concurrent.futures import": pools,
        "ProcessPoolExecutor": pools,
        "Future": "standard",
    }
