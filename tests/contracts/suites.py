"""CPython's own suites in cells: an interpreter, taken for itself, that stands on one side.

A cell is a virtual environment of two .pth files: one has `contract_side.py` called in every interpreter, the other
is unirun-compat.pth, as an installation of unirun has it.
The suites come by scripts/fetch_cpython_tests.py.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
CELLS = ROOT / "build/contracts"
SUITES = ("test_concurrent_futures", "test_asyncio")
PASSED = ("ok", "expected failure")
FINE = (*PASSED, "skipped")
SILENCE = 300.0
"""Seconds without a word after which a test counts as hung."""
MEMORY = 4 << 30
"""Resident bytes over which a test counts as run wild."""
AT_ONCE = 3
"""Processes that run a suite's classes side by side: they wait most of their time."""
SHARES = 4
"""Shares of a suite for each of them: the longest class makes no other wait."""
TRIES = 3


class Interpreter(NamedTuple):
    path: str
    version: str
    """3.14.8; with a t where it is free-threaded."""
    package: str
    """The folder of the package unirun that is built for it."""
    tests: str
    """The folder of CPython's `test`."""


class Cell(NamedTuple):
    interpreter: Interpreter
    side: str
    python: Path

    def __str__(self) -> str:
        return f"{self.interpreter.version}, {self.side}"


@dataclass
class Report:
    outcomes: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Of each test: outcome and why."""
    engines: Counter[str] = field(default_factory=Counter)
    """How many executors of ours were made, by their engine."""

    def named(self, outcomes: Collection[str]) -> set[str]:
        return {test for test, (outcome, _) in self.outcomes.items() if outcome in outcomes}


def output_of(*command: str | Path) -> str:
    ran = subprocess.run(command, capture_output=True, text=True)
    assert ran.returncode == 0, f"{' '.join(map(str, command))}\n{ran.stdout[-1000:]}\n{ran.stderr[-2000:]}"
    return ran.stdout.strip()


def interpreter(path: str = sys.executable, neighbours: Iterable[str] = ()) -> Interpreter:
    """An interpreter with its build of unirun and CPython's tests, each made where it is missing."""
    asked = (
        "import sys, os; print(*sys.version.split()[:1], sys.abiflags, sep=''); print(os.path.realpath(sys.executable))"
    )
    version, real = output_of(path, "-c", asked).split("\n")
    if real == os.path.realpath(sys.executable):
        found = find_spec("unirun")
        assert found is not None and found.origin is not None, "unirun is not built: make build"
        package = str(Path(found.origin).parents[1])
    else:
        home = output_of(ROOT / "scripts/build_for_python.sh", path, "_pools", "_forking")
        package = f"{home}/build/python"
    tests = output_of(sys.executable, ROOT / "scripts/fetch_cpython_tests.py", path, *neighbours)
    return Interpreter(real, version, package, tests)


def cell(interpreter: Interpreter, side: str) -> Cell:
    home = CELLS / f"{interpreter.version}-{side}"
    python = home / "bin/python"
    if not python.exists() or os.path.realpath(python) != interpreter.path:
        output_of(interpreter.path, "-m", "venv", "--without-pip", "--clear", "--symlinks", home)
    packages = next((home / "lib").glob("python3*/site-packages"))
    call = f"import contract_side; contract_side.enter({side!r}, {interpreter.tests!r})"
    lines = f"{HERE}\n{interpreter.package}\n{call}\n"
    entries = {"contract.pth": lines, "unirun-compat.pth": (ROOT / "python_bindings/unirun-compat.pth").read_text()}
    for name, text in entries.items():  # In the order of their names.
        if not (packages / name).exists() or (packages / name).read_text() != text:
            (packages / name).write_text(text)
    return Cell(interpreter, side, python)


def modules_of(interpreter: Interpreter, suite: str) -> list[str]:
    """Every module of a suite; up to 3.11 that of concurrent.futures is one."""
    folder = Path(interpreter.tests) / "test" / suite
    if not folder.is_dir():
        return [f"test.{suite}"]
    return [f"test.{suite}.{file.stem}" for file in sorted(folder.glob("test_*.py"))]


def listed(cell: Cell, modules: Iterable[str]) -> list[str]:
    """The tests of some modules."""
    with TemporaryDirectory() as scratch:
        rows = Path(scratch) / "rows"
        output_of(cell.python, "-W", "ignore", HERE / "run_suite.py", "list", rows, "", *modules)
        return [json.loads(row)["test"] for row in rows.read_text().splitlines()]


def run(cell: Cell, modules: list[str], tests: Collection[str] | None = None, at_once: int = AT_ONCE) -> Report:
    """Run the tests of some modules, or those chosen, in fresh interpreters."""
    if tests is None:
        tests = listed(cell, modules)
    classes: dict[str, list[str]] = {}
    for test in tests:
        classes.setdefault(test.rpartition(".")[0], []).append(test)
    shares: list[list[str]] = [[] for _ in range(min(at_once * SHARES, len(classes)))]
    for number, name in enumerate(classes):
        shares[number % len(shares)].extend(classes[name])
    report = Report()
    with ThreadPoolExecutor(at_once) as side_by_side:
        for part in side_by_side.map(lambda share: _run(cell, modules, share), shares):
            report.outcomes.update(part.outcomes)
            report.engines.update(part.engines)
    return report


def _run(cell: Cell, modules: list[str], tests: list[str]) -> Report:
    """Run tests in one process, and what a crash or a hang left over in the next."""
    report = Report()
    while left := [test for test in tests if test not in report.outcomes]:
        begun = _run_once(cell, modules, left, report)
        if begun is None:
            break
    for test in left:
        report.outcomes.setdefault(test, ("not run", "the suite ended without it"))
    return report


def _run_once(cell: Cell, modules: list[str], tests: list[str], report: Report) -> str | None:
    """Return the test in which the process ended early, which has an outcome then; None if it came to its end."""
    with TemporaryDirectory() as scratch:
        rows, chosen, log = (Path(scratch) / name for name in ("rows", "chosen", "log"))
        rows.touch()
        chosen.write_text("\n".join(tests))
        needed = [name for name in modules if any(test.startswith(f"{name}.") for test in tests)] or modules
        with log.open("wb") as output:
            command: list[str | Path] = [
                cell.python,
                "-X",
                "faulthandler",
                "-W",
                "ignore",
                HERE / "run_suite.py",
                "run",
                rows,
                chosen,
                *needed,
            ]
            process = subprocess.Popen(
                command, cwd=scratch, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
            how = _watch(process, rows)
        told = log.read_text(errors="replace")[-4000:]
        begun: str | None = None
        finished = False
        for row in map(json.loads, rows.read_text().splitlines()):
            if "engines" in row:
                report.engines.update(row["engines"])
                finished = True
            elif "outcome" in row:
                report.outcomes[row["test"]] = (row["outcome"], row["text"])
                begun = None
            else:
                begun = row["test"]
    if finished:
        return None
    assert begun is not None, f"{cell}: the suite {how} before or between tests:\n{told}"
    report.outcomes[begun] = ("error", f"the process {how}:\n{told}")
    return begun


def _watch(process: subprocess.Popen[bytes], rows: Path) -> str:
    """Wait for the end of a run, or end it when it has fallen silent; say how it ended."""
    said, since = 0, time.monotonic()
    how = "ended early"
    try:
        while True:
            try:
                return f"{how} with {process.wait(0.2)}"
            except subprocess.TimeoutExpired:
                pass
            if (size := rows.stat().st_size) != said:
                said, since = size, time.monotonic()
            elif time.monotonic() - since > SILENCE:
                how, since = f"hung for {SILENCE:.0f} s and ended", time.monotonic()
                process.send_signal(signal.SIGABRT)  # faulthandler says where.
            if _memory(process.pid) > MEMORY:
                how = f"took more than {MEMORY >> 30} GiB and ended"
                process.send_signal(signal.SIGABRT)
    finally:
        _end_session(process.pid)


def _memory(pid: int) -> int:
    """Resident bytes; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _end_session(leader: int) -> None:
    """Children that a run left behind have its session."""
    try:
        os.killpg(leader, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Fault(NamedTuple):
    test: str
    ours: tuple[str, str]
    theirs: tuple[str, str]


def faults_of(ours: Cell, theirs: Cell, modules: list[str], report: Report) -> list[Fault]:
    """Which tests fail on our side that pass on theirs, or are skipped by us alone.

    Busy machines fail tests of time now and then: a suspect is run again by itself, on both sides, three times at
    most. It is no fault if it passes once on both, or never on theirs.
    """
    skipped = report.named(["skipped"])
    if skipped:  # Most are for another platform: one run of theirs settles them all.
        skipped -= run(theirs, modules, [test for test in report.outcomes if test in skipped]).named(["skipped"])
    suspects = skipped | (set(report.outcomes) - report.named(FINE))
    return [
        fault for test in sorted(suspects) if (fault := _tried_again(test, ours, theirs, modules, report)) is not None
    ]


def _tried_again(test: str, ours: Cell, theirs: Cell, modules: list[str], report: Report) -> Fault | None:
    last: dict[str, tuple[str, str]] = {}
    for _ in range(TRIES):
        for cell in (ours, theirs):
            if last.get(cell.side, ("",))[0] not in PASSED:
                last[cell.side] = _alone(cell, modules, test)
        if all(outcome in PASSED for outcome, _ in last.values()):
            return None
    passes_there = last[theirs.side][0] in PASSED
    return Fault(test, report.outcomes[test], last[theirs.side]) if passes_there else None


def _alone(cell: Cell, modules: list[str], test: str) -> tuple[str, str]:
    """Its outcome; "setUpClass (CLASS)" and the like are what all tests of the class or module come to."""
    if not test.endswith(")"):
        return run(cell, modules, [test]).outcomes[test]
    within = test[test.index("(") + 1 : -1] + "."
    tests = [each for each in listed(cell, modules) if each.startswith(within)]
    return run(cell, modules, tests).outcomes.get(test, ("ok", ""))
