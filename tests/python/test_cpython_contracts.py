"""CPython's own suites find no fault with `unirun.compat` under the standard names that they do not find without it.

docs/contracts.md tells how they are compared; `make contracts` runs every interpreter and every side.
"""

from __future__ import annotations

import json
import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import contract_side
import suites
from comparison import assert_no_fault

pytestmark = [pytest.mark.native, pytest.mark.timeout(600)]

# The parts of test_concurrent_futures that are quick and closest to the engines: modules, and up to 3.11 classes.
GATE = re.compile(r"\.test_(thread_pool|future|init|shutdown)\.|\.(Thread|Future|\w*Initializer|\w*Shutdown)\w*\.")
GATE_OF_ASYNCIO = ["test.test_asyncio.test_threads", "test.test_asyncio.test_tasks"]
# What looks closest at a Future.
OF_FUTURES = re.compile(r"FutureTests?\.|WaitTests?\.|AsCompletedTests?\.")


def here() -> suites.Interpreter:
    return suites.interpreter()


def newest() -> suites.Interpreter:
    """3.14, brought by Debian's packages where it is not there."""
    return suites.interpreter(suites.output_of(suites.ROOT / "scripts/fetch_python.sh", "3.14"))


# ---- The redirection ----


@pytest.mark.parametrize("side", contract_side.SIDES)
@pytest.mark.parametrize("flags", [[], ["-I"], ["-E", "-s", "-B"]], ids=lambda flags: " ".join(flags) or "plain")
def test_every_interpreter_of_a_cell_takes_its_side(side: str, flags: list[str]) -> None:
    cell = suites.cell(here(), side)
    say = "import contract_side, json; print(json.dumps(contract_side.facts()))"
    ran = subprocess.run([cell.python, *flags, "-c", say], env={}, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == contract_side.expected(side)
    assert ran.stderr == ""


@pytest.mark.parametrize("side", contract_side.SIDES)
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_workers_of_process_pools_take_the_side(side: str, method: str) -> None:
    cell = suites.cell(here(), side)
    script = (
        "import contract_side, json, multiprocessing\n"
        "from concurrent import futures\n"
        "if __name__ == '__main__':\n"
        f"    with futures.ProcessPoolExecutor(1, multiprocessing.get_context({method!r})) as pool:\n"
        "        print(json.dumps(pool.submit(contract_side.facts).result()))\n"
    )
    ran = subprocess.run([cell.python, "-I", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == contract_side.expected(side)


@pytest.mark.parametrize("side", contract_side.SIDES)
def test_subinterpreters_take_the_side(side: str) -> None:
    cell = suites.cell(here(), side)
    script = (
        "try: import _interpreters as interpreters\n"
        "except ImportError: import _xxsubinterpreters as interpreters\n"
        "failed = interpreters.run_string(interpreters.create(), \n"
        "    'import contract_side, json; print(json.dumps(contract_side.facts()))')\n"
        "assert failed is None, failed\n"
    )
    ran = subprocess.run([cell.python, "-I", "-c", script], env={}, capture_output=True, text=True, check=True)
    assert json.loads(ran.stdout) == contract_side.expected(side)


def test_a_redirection_that_did_not_take_is_a_failure() -> None:
    cell = suites.cell(here(), "standard")
    script = "import contract_side, sys; sys._unirun_contract_side = 'managed'; contract_side.begin()"
    ran = subprocess.run([cell.python, "-I", "-c", script], env={}, capture_output=True, text=True)
    assert ran.returncode == 1 and "the redirection did not take" in ran.stderr


# ---- The comparison ----


def test_a_fault_of_ours_is_found_and_one_of_the_suite_is_none(tmp_path: Path) -> None:
    (tmp_path / "suite_of_three.py").write_text(
        "import contract_side, os, unittest\n"
        "ours = contract_side.facts()['side'] == 'managed'\n"
        "class Three(unittest.TestCase):\n"
        "    def test_fails_with_us(self): self.assertFalse(ours)\n"
        "    def test_fails_anyway(self): self.fail('as ever')\n"
        "    def test_is_skipped_by_us(self): self.skipTest('us') if ours else None\n"
        "    def test_ends_the_process(self): os._exit(3) if ours else None\n"
        "    def test_passes(self): pass\n"
    )
    interpreter = here()._replace(tests=str(tmp_path))
    ours, theirs = (suites.cell(interpreter, side) for side in ("managed", "standard"))
    try:
        report = suites.run(ours, ["suite_of_three"])
        faults = suites.faults_of(ours, theirs, ["suite_of_three"], report)
    finally:
        suites.cell(here(), "managed"), suites.cell(here(), "standard")
    assert len(report.outcomes) == 5
    assert [fault.test.rpartition(".")[2] for fault in faults] == [
        "test_ends_the_process",
        "test_fails_with_us",
        "test_is_skipped_by_us",
    ]


def test_tests_that_cannot_be_had_are_an_error_that_says_what_would_be_right(tmp_path: Path) -> None:
    script: Any = runpy.run_path(str(suites.ROOT / "scripts/fetch_cpython_tests.py"))
    script["fetch"].__globals__["CACHE"] = tmp_path
    without = script["Interpreter"](sys.executable, "3.12.1", tmp_path / "nothing")  # Debian has no 3.12.
    with pytest.raises(SystemExit) as error:
        script["fetch"](without, [])
    assert "test_asyncio, test_concurrent_futures of 3.12.1 is not to be had" in str(error.value)
    assert f"Right would be CPython's Lib/test of that version there ({tmp_path / 'nothing'})" in str(error.value)


# ---- The gate ----


def test_the_gate_of_concurrent_futures_finds_no_fault() -> None:
    interpreter = here()
    report = assert_no_fault(
        interpreter, "managed", suites.modules_of(interpreter, "test_concurrent_futures"), GATE.search
    )
    assert len(report.outcomes) > 90
    assert report.engines["threads"] > 20 and report.engines["processes"] > 20


def test_the_gate_of_asyncio_finds_no_fault() -> None:
    report = assert_no_fault(here(), "managed", GATE_OF_ASYNCIO)
    assert len(report.outcomes) > 300
    assert report.engines["threads"] >= 5


def test_the_tests_of_futures_find_no_fault_with_native_ones() -> None:
    interpreter = here()
    modules = suites.modules_of(interpreter, "test_concurrent_futures")
    report = assert_no_fault(interpreter, "native", modules, OF_FUTURES.search)
    assert len(report.outcomes) > 50


# ---- The whole suites ----


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("suite", suites.SUITES)
@pytest.mark.parametrize("which", [here, newest], ids=["here", "3.14"])
def test_the_whole_suites_find_no_fault(which: Callable[[], suites.Interpreter], suite: str) -> None:
    interpreter = which()
    report = assert_no_fault(interpreter, "managed", suites.modules_of(interpreter, suite))
    assert len(report.outcomes) > 200
    assert report.engines["threads"] > 20


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_tests_of_interpreter_pools_find_no_fault_with_ours() -> None:
    interpreter = newest()
    modules = suites.modules_of(interpreter, "test_concurrent_futures")
    report = assert_no_fault(interpreter, "native", modules, re.compile("[Ii]nterpreter|FutureTests").search)
    assert report.engines["interpreters"] > 20
