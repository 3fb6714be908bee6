"""A suite of CPython's own, run twice in fresh interpreters and compared test by test.

The suite belongs to the interpreter: Debian packs it as `libpython3.11-testsuite`, which `make test` installs. Another
interpreter of the same version that has it may be named by UNIRUN_TEST_ASYNCIO_PYTHON.

A script beside the test that compares runs the suite: ``SCRIPT SIDE NAME...``. It prints, by `Result`, one JSON line
a test: {"test": id, "outcome": "ok" | "failure" | "error" | "skipped" | ..., "text": why}.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unittest
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

INTERPRETER = os.environ.get("UNIRUN_TEST_ASYNCIO_PYTHON", sys.executable)
HERE = Path(__file__).parent
FINE = ("ok", "skipped", "expected failure")


class Result(unittest.TestResult):
    """Prints outcomes as they come, so that a crash loses only the test it happened in."""

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().startTest(test)
        self.failed: tuple[str, str] | None = None

    def stopTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        super().stopTest(test)
        self.tell(test, *(self.failed or ("ok", "")))

    def tell(self, test: unittest.TestCase, outcome: str, text: str) -> None:
        row = json.dumps({"test": test.id(), "outcome": outcome, "text": text})
        print(f"\n{row}", file=sys.__stdout__, flush=True)  # Tests leave half lines behind.

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


def location_of(suite: str) -> Path:
    """Where the interpreter keeps a suite: its package's directory, or the file of its module."""
    script = f"import {suite} as suite; print(getattr(suite, '__path__', [suite.__file__])[0])"
    found = subprocess.run([INTERPRETER, "-c", script], capture_output=True, text=True)
    assert found.returncode == 0, (
        f"{INTERPRETER} has no {suite}: install libpython3.11-testsuite (make test does),"
        " or name an interpreter that has it in UNIRUN_TEST_ASYNCIO_PYTHON"
    )
    return Path(found.stdout.strip())


def outcomes(script: Path, side: str, names: list[str], timeout: float) -> dict[str, tuple[str, str]]:
    """Run parts of the suite on one side; test -> (outcome, why)."""
    # Only our package, not the packages of .venv: the suite is to find the interpreter as it is.
    package = find_spec("unirun")
    assert package is not None and package.origin is not None
    path = os.pathsep.join([str(Path(package.origin).parents[1]), str(HERE)])
    ran = subprocess.run(
        [INTERPRETER, "-W", "ignore", str(script), side, *names],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert ran.returncode == 0, f"the suite ended early on side {side}:\n{ran.stdout[-300:]}\n{ran.stderr[-3000:]}"
    rows = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"test":')]
    return {row["test"]: (row["outcome"], row["text"]) for row in rows}


def assert_no_new_fault(
    script: Path,
    names: list[str],
    *,
    ours: str,
    theirs: str,
    suite: str,
    at_least: float,
    exceptions: Collection[str] = (),
    timeout: float,
) -> None:
    """No test fails on our side that passes on theirs, none is skipped by us alone, and both ran them all."""
    with ThreadPoolExecutor() as side_by_side:  # They wait most of their time.
        running = [side_by_side.submit(outcomes, script, side, names, timeout) for side in (ours, theirs)]
        our, their = (each.result() for each in running)
    assert set(our) == set(their)
    assert len(our) >= at_least
    suspects = {test for test, (outcome, _) in our.items() if outcome not in FINE}
    skipped = {test for test, (outcome, _) in our.items() if outcome == "skipped" and their[test][0] != "skipped"}
    wrong = {test for test in suspects | skipped if their[test][0] in FINE} - set(exceptions)
    # A busy machine fails tests of time now and then: what fails is asked again, by itself, on the same side.
    for test in sorted(wrong):
        again = outcomes(script, ours, [test.removeprefix(f"{suite}.")], timeout)
        if again[test][0] == their[test][0]:
            wrong.discard(test)
    assert not wrong, "\n\n".join(f"{test}: {our[test][0]}\n{our[test][1]}" for test in sorted(wrong))
