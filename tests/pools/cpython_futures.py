"""CPython's own `test_concurrent_futures` on one of two engines; `test_cpython_futures.py` runs it and compares.

usage: cpython_futures.py standard|native NAME...

A name is one of the parts below, or that of one test. Prints outcomes as `cpython_suite.py` says. Runs in a fresh
interpreter: the standard library is told, before a test is imported, that our classes are the classes.
"""

from __future__ import annotations

import concurrent.futures as standard
import sys
import unittest
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import _base
from importlib import import_module
from typing import Any

from pool_engines import CLASSES, executor_class

from cpython_suite import Result

SUITE = "test.test_concurrent_futures"
PARTS: dict[str, Callable[[str], bool]] = {
    "futures": lambda test: ".FutureTests." in test,
    "threads": lambda test: "Process" not in test and "Interpreter" not in test and ".FutureTests." not in test,
    "processes": lambda test: "Process" in test,
    "interpreters": lambda test: "Interpreter" in test,
}


def substitute(parts: tuple[str, ...]) -> None:
    """Wherever a test may get a class from, it gets ours."""
    ours = import_module("unirun.executors.futures").Future
    vars(standard)["Future"] = vars(_base)["Future"] = ours
    for part in parts:
        if part in CLASSES:  # Known to the package only: ours derive from what the modules below it hold.
            vars(standard)[CLASSES[part]] = executor_class("native", part)


def substitute_in_scripts(parts: tuple[str, ...]) -> None:
    """The interpreters that tests start by themselves, without environment or paths, get ours too."""
    script_helper = import_module("test.support.script_helper")
    paths = [path for path in sys.path if path]
    preamble = (
        f"import sys; sys.path[:0] = {paths!r}\nimport cpython_futures; cpython_futures.substitute({parts!r})\n"
        f"del sys.path[:{len(paths)}], sys.modules['cpython_futures']\n"
    )
    run = script_helper.assert_python_ok

    def run_with_ours(*arguments: str, **environment: Any) -> Any:
        before, code = arguments[:-1], arguments[-1]
        assert before[-1] == "-c", arguments
        return run(*before, preamble + code, **environment)

    vars(script_helper)["assert_python_ok"] = run_with_ours


def belongs(name: str, part: str) -> bool:
    """Whether a test, named without the suite, is of that part."""
    return name not in PARTS and PARTS[part](f"{SUITE}.{name}")


def tests_of(suite: Iterable[Any] | unittest.TestCase) -> Iterator[unittest.TestCase]:
    if isinstance(suite, unittest.TestCase):
        yield suite
    else:
        for each in suite:
            yield from tests_of(each)


def chosen(names: list[str]) -> unittest.TestSuite:
    chosen = unittest.TestSuite()
    for test in tests_of(unittest.defaultTestLoader.loadTestsFromName(SUITE)):
        name = str(test.id())
        if name.removeprefix(f"{SUITE}.") in names or any(part in names and PARTS[part](name) for part in PARTS):
            chosen.addTest(test)
    return chosen


def main() -> None:
    side, *names = sys.argv[1:]
    if side == "native":
        parts = tuple(part for part in PARTS if part in names or any(belongs(name, part) for name in names))
        substitute(parts)
        substitute_in_scripts(parts)
    chosen(names).run(Result())


if __name__ == "__main__":
    main()
