"""Runs CPython's suites on every interpreter and every side, and writes the table of docs/contracts.md.

usage: report.py [INTERPRETER ...]     without any: this one, pyenv's from 3.12 on, and Debian's 3.14

Keeps what each has come to in build/contracts/results.json, so that a run of one interpreter changes its rows only.
Exits with 1 if there is a fault.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import suites

PAGE = suites.ROOT / "docs/contracts.md"
RESULTS = suites.CELLS / "results.json"
TABLE = re.compile(r"(<!-- generated: contracts -->\n).*?(<!-- end -->)", re.S)
SIDES = {"test_concurrent_futures": ("managed", "passthrough", "native"), "test_asyncio": ("managed", "passthrough")}


def interpreters() -> list[str]:
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    newest = suites.output_of(suites.ROOT / "scripts/fetch_python.sh", "3.14")
    return [sys.executable, *map(str, sorted(pyenv.glob("versions/3.1[2-9]*/bin/python3"))), newest]


def source_of(interpreter: suites.Interpreter, suite: str) -> str:
    """Which version's tests they are."""
    for line in (Path(interpreter.tests) / "SOURCES").read_text().splitlines():
        if line.startswith(f"{suite}: "):
            return line.removeprefix(f"{suite}: ").split(",")[0]
    raise LookupError(suite)


def examine(interpreter: suites.Interpreter, suite: str) -> dict[str, Any]:
    """Run a suite on every side."""
    modules = suites.modules_of(interpreter, suite)
    standard = suites.cell(interpreter, "standard")
    theirs = suites.run(standard, modules)
    row: dict[str, Any] = {
        "tests of": source_of(interpreter, suite),
        "tests": len(suites.listed(standard, modules)),
        "passed": len(theirs.named(suites.PASSED)),
        "skipped": len(theirs.named(["skipped"])),
    }
    for side in SIDES[suite]:
        began = time.monotonic()
        cell = suites.cell(interpreter, side)
        ours = suites.run(cell, modules)
        faults = suites.faults_of(cell, standard, modules, ours)
        faults += [
            suites.Fault(test, ("not run", ""), outcome)
            for test, outcome in theirs.outcomes.items()
            if test not in ours.outcomes
        ]
        row[side] = {
            "passed": len(ours.named(suites.PASSED)),
            "skipped": len(ours.named(["skipped"])),
            "faults": [fault.test for fault in faults],
            "engines": ours.engines,
            "minutes": round((time.monotonic() - began) / 60, 1),
        }
        print(f"{cell}, {suite}: {row[side]}", flush=True)
        for fault in faults:
            print(f"FAULT {fault.test}: {fault.ours[0]}, standard: {fault.theirs[0]}\n{fault.ours[1]}", flush=True)
    return row


def told(side: dict[str, Any] | None) -> str:
    if side is None:
        return ""
    faults = len(side["faults"])
    return f"{side['passed']} / {side['skipped']}, **{faults or 'none'}**"


def table(results: dict[str, dict[str, Any]]) -> str:
    head = (
        "| Python | suite | tests | standard | managed | passthrough | native futures | native pools made, managed |\n"
    )
    lines = [head, "|---|---|---|---|---|---|---|---|\n"]
    for version in sorted(results, key=lambda version: [int(part) for part in re.findall(r"\d+", version)]):
        for suite, row in results[version].items():
            tests = str(row["tests"]) + ("" if version == row["tests of"] else f" (those of {row['tests of']})")
            engines = ", ".join(f"{count} {engine}" for engine, count in sorted(row["managed"]["engines"].items()))
            sides = " | ".join(told(row.get(side)) for side in ("managed", "passthrough", "native"))
            lines.append(
                f"| {version} | {suite} | {tests} | {row['passed']} / {row['skipped']} | {sides} | {engines} |\n"
            )
    return "".join(lines)


def keep(interpreter: suites.Interpreter, suite: str, row: dict[str, Any]) -> None:
    """Add a row to what other runs have found, and to the page."""
    results: dict[str, dict[str, Any]] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results.setdefault(interpreter.version, {})[suite] = row
    RESULTS.write_text(json.dumps(results, indent=1))
    PAGE.write_text(TABLE.sub(lambda found: found[1] + table(results) + found[2], PAGE.read_text()))


def main() -> int:
    faults = 0
    for path in sys.argv[1:] or interpreters():
        interpreter = suites.interpreter(path, interpreters())
        for suite in suites.SUITES:
            row = examine(interpreter, suite)
            keep(interpreter, suite, row)
            faults += sum(len(row[side]["faults"]) for side in SIDES[suite])
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
