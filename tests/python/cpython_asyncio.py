"""CPython's own `test_asyncio` on one of two loops; `test_cpython_asyncio.py` runs it and compares.

usage: cpython_asyncio.py default|unirun MODULE...

Prints one JSON line a test: {"test": id, "outcome": "ok" | "failure" | "error" | "skipped" | ..., "text": why}.
Runs in a fresh interpreter: the standard library is told, before a test is imported, that our loop is the loop.
"""

from __future__ import annotations

import asyncio
import json
import sys
import unittest
from asyncio import unix_events
from typing import Any


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


class Result(unittest.TestResult):
    """Prints outcomes as they come, so that a crash loses only the test it happened in."""

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.failed: tuple[str, str] | None = None

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        self.tell(test, *(self.failed or ("ok", "")))

    def tell(self, test: unittest.TestCase, outcome: str, text: str) -> None:
        print(json.dumps({"test": test.id(), "outcome": outcome, "text": text}), file=sys.__stdout__, flush=True)

    def fail(self, test: unittest.TestCase, outcome: str, error: Any) -> None:
        text = self._exc_info_to_string(error, test)  # type: ignore[attr-defined]
        if isinstance(test, unittest.TestCase) and hasattr(test, "_testMethodName"):
            self.failed = (outcome, text)
        else:  # A class or a module that could not be set up.
            self.tell(test, outcome, text)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.fail(test, "error", err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.fail(test, "failure", err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: ARG002, N802
        if err is not None:
            self.fail(test, "failure", err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: ARG002, N802
        self.failed = ("skipped", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802, ARG002
        self.failed = ("expected failure", "")

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802, ARG002
        self.failed = ("unexpected success", "")


def main() -> None:
    loop, *modules = sys.argv[1:]
    if loop == "unirun":
        make_ours_the_loop()
    suite = unittest.defaultTestLoader.loadTestsFromNames([f"test.test_asyncio.{module}" for module in modules])
    suite.run(Result())


if __name__ == "__main__":
    main()
