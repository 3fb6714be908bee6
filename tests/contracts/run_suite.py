"""Runs tests of CPython's own and tells each outcome; `suites.py` starts it, in the interpreter of a cell.

usage: run_suite.py list|run ROWS CHOSEN MODULE...

Collects the tests of the modules; ``run`` runs those that the file CHOSEN names. Appends JSON lines to the file ROWS:
one {"test": id} when a test begins (or is listed), one {"test": id, "outcome": "ok" | "failure" | "error" | "skipped" |
"expected failure" | "unexpected success", "text": why} when it has ended, and at the end {"engines": what was used}.
"""

from __future__ import annotations

import json
import signal
import sys
import unittest
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any


class Result(unittest.TestResult):
    """Tells outcomes as they come, so that a crash loses only the test it happened in."""

    def __init__(self, rows: str) -> None:
        super().__init__()
        self.rows = rows

    def tell(self, **row: Any) -> None:
        with open(self.rows, "a") as file:
            file.write(json.dumps(row) + "\n")

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.outcome: tuple[str, str] = ("ok", "")
        self.tell(test=test.id())

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        outcome, text = self.outcome
        self.tell(test=test.id(), outcome=outcome, text=text)

    def fail(self, test: Any, outcome: str, error: Any) -> None:
        text = self._exc_info_to_string(error, test)  # type: ignore[attr-defined]
        if hasattr(test, "_testMethodName"):
            self.outcome = (outcome, text)
        else:  # A class or a module that could not be set up or torn down.
            self.tell(test=test.id(), outcome=outcome, text=text)

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        self.fail(test, "error", err)

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        self.fail(test, "failure", err)

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: ARG002, N802
        if err is not None:
            self.fail(test, "failure", err)

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        if hasattr(test, "_testMethodName"):
            self.outcome = ("skipped", reason)
        else:
            self.tell(test=test.id(), outcome="skipped", text=reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: ARG002, N802
        self.outcome = ("expected failure", "")

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: ARG002, N802
        self.outcome = ("unexpected success", "")


def tests_of(suite: Iterable[Any] | unittest.TestCase) -> Iterator[unittest.TestCase]:
    if isinstance(suite, unittest.TestCase):
        yield suite
    else:
        for each in suite:
            yield from tests_of(each)


class Loading(unittest.TestCase):
    """Fails for a module that cannot be loaded."""

    def __init__(self, module: str, error: Exception) -> None:
        super().__init__("test_loads")
        self.module = module
        self.error = error

    def test_loads(self) -> None:
        raise self.error

    def id(self) -> str:
        return f"{self.module}.Loading.test_loads"


def collect(modules: Iterable[str]) -> Iterator[unittest.TestCase]:
    """What cannot be loaded becomes a test that fails; a module that skips itself, on any side, has none."""
    for module in modules:
        try:
            yield from tests_of(unittest.defaultTestLoader.loadTestsFromName(module))
        except unittest.SkipTest:
            pass
        except Exception as error:
            yield Loading(module, error)


def count_engines(into: Counter[str]) -> None:
    """Count what executors are made, by the engine that they stand on."""

    def counted(cls: type, name: str) -> None:
        construct = cls.__init__  # type: ignore[misc]

        def __init__(self: Any, *arguments: Any, **named: Any) -> None:  # noqa: N807
            into[name] += 1
            construct(self, *arguments, **named)

        cls.__init__ = __init__  # type: ignore[misc]

    for module, name, engine in (
        ("unirun.executors.threads", "ThreadPoolExecutor", "threads"),
        ("unirun.executors.processes", "ProcessPoolExecutor", "processes"),
        ("unirun.executors.interpreters", "InterpreterPoolExecutor", "interpreters"),
    ):
        if module in sys.modules:
            counted(getattr(sys.modules[module], name), engine)


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Tests send it; a job in the background ignores it.
    what, rows, chosen, *modules = sys.argv[1:]
    result = Result(rows)
    import_module("contract_side").begin()
    tests = list(collect(modules))
    if what == "list":
        for test in tests:
            result.tell(test=test.id())
        return
    with open(chosen) as file:
        wanted = set(file.read().splitlines())
    engines: Counter[str] = Counter()
    count_engines(engines)
    unittest.TestSuite(test for test in tests if test.id() in wanted).run(result)
    result.tell(engines=engines)


if __name__ == "__main__":
    main()
