"""CPython's own `test_asyncio` on one of two loops; `test_cpython_asyncio.py` runs it and compares.

usage: cpython_asyncio.py default|unirun MODULE...

Prints outcomes as `cpython_suite.py` says.
Runs in a fresh interpreter: the standard library is told, before a test is imported, that our loop is the loop.
"""

from __future__ import annotations

import asyncio
import sys
import unittest
from asyncio import unix_events
from typing import Any

from cpython_suite import Result


def make_ours_the_loop() -> None:
    """Wherever a test may get a loop from, it gets one of ours: by name, from the policy or its own way."""
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


def main() -> None:
    loop, *modules = sys.argv[1:]
    if loop == "unirun":
        make_ours_the_loop()
    suite = unittest.defaultTestLoader.loadTestsFromNames([f"test.test_asyncio.{module}" for module in modules])
    suite.run(Result())


if __name__ == "__main__":
    main()
