"""CPython's own `test_asyncio` finds no fault in our loop that it does not find in the default one.

The suite belongs to the interpreter: Debian packs it as `libpython3.11-testsuite`, which `make test` installs. Another
interpreter of the same version that has the suite may be named by UNIRUN_TEST_ASYNCIO_PYTHON. Both loops run in fresh
interpreters (`cpython_asyncio.py`), and their outcomes are compared test by test.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import unirun

pytestmark = pytest.mark.native

HERE = Path(__file__).parent
INTERPRETER = os.environ.get("UNIRUN_TEST_ASYNCIO_PYTHON", sys.executable)

# Tests that may differ, each with its reason.
EXCEPTIONS: dict[str, str] = {}

# What stands closest to a loop's engine, in a few seconds; the whole suite takes minutes.
SHORT = [
    "test_context",
    "test_runners",
    "test_taskgroups",
    "test_timeouts",
    "test_locks",
    "test_streams",
    "test_server",
]


def whole_suite() -> list[str]:
    """Every module of the suite but those for Windows."""
    script = "import test.test_asyncio as suite; print(suite.__path__[0])"
    found = subprocess.run([INTERPRETER, "-c", script], capture_output=True, text=True)
    if found.returncode != 0:
        pytest.fail(
            f"{INTERPRETER} has no test.test_asyncio: install libpython3.11-testsuite (make test does),"
            " or name an interpreter that has it in UNIRUN_TEST_ASYNCIO_PYTHON"
        )
    return sorted(p.stem for p in Path(found.stdout.strip()).glob("test_*.py") if "windows" not in p.stem)


def outcomes(loop: str, modules: list[str], timeout: float) -> dict[str, tuple[str, str]]:
    """Run modules of the suite on a loop; test -> (outcome, why)."""
    # Only our package, not the packages of .venv: the suite is to find the interpreter as it is.
    environment = {**os.environ, "PYTHONPATH": str(Path(unirun.__file__).parents[1])}
    ran = subprocess.run(
        [INTERPRETER, "-W", "ignore", str(HERE / "cpython_asyncio.py"), loop, *modules],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert ran.returncode == 0, f"the suite ended early on the {loop} loop:\n{ran.stdout[-300:]}\n{ran.stderr[-3000:]}"
    rows = [json.loads(line) for line in ran.stdout.splitlines() if line.startswith('{"test":')]
    return {row["test"]: (row["outcome"], row["text"]) for row in rows}


def compare(modules: list[str], timeout: float) -> None:
    with ThreadPoolExecutor() as side_by_side:  # They wait most of their time.
        running = [side_by_side.submit(outcomes, loop, modules, timeout) for loop in ("unirun", "default")]
        ours, theirs = (each.result() for each in running)
    suspects = {test for test, (outcome, _) in ours.items() if outcome not in ("ok", "skipped", "expected failure")}
    assert set(ours) == set(theirs)
    assert len(ours) > 20 * len(modules) ** 0.5
    skipped = {test for test, (outcome, _) in ours.items() if outcome == "skipped" and theirs[test][0] != "skipped"}
    wrong = {test for test in suspects | skipped if theirs[test][0] in ("ok", "skipped", "expected failure")}
    # A busy machine fails tests of time now and then: what fails is asked again, by itself, on the same loop.
    for test in sorted(wrong - set(EXCEPTIONS)):
        again = outcomes("unirun", [test.removeprefix("test.test_asyncio.")], timeout)
        if again[test][0] == theirs[test][0]:
            wrong.discard(test)
    wrong -= set(EXCEPTIONS)
    assert not wrong, "\n\n".join(f"{test}: {ours[test][0]}\n{ours[test][1]}" for test in sorted(wrong))


def test_the_short_selection_finds_no_fault() -> None:
    assert set(SHORT) < set(whole_suite())
    compare(SHORT, timeout=50)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_suite_finds_no_fault() -> None:
    compare(whole_suite(), timeout=700)
