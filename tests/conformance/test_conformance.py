"""Every item of the contract and every fault, under every executor.

The matrix stands in docs/conformance.md; ``UNIRUN_WRITE_MATRIX=1 pytest tests/conformance`` renews it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import contract
import faults
import pytest
from cell import EXECUTORS, ITEMS, Cell, Item
from real_host import RealHost

from unirun import calls

DOCUMENT = Path(__file__).parents[2] / "docs/conformance.md"
HERE = Path(__file__).parent
PACKAGE = Path(calls.__file__).parents[1]
assert contract and faults  # They fill ITEMS.


@pytest.fixture(scope="module")
def hosts() -> Iterator[dict[str, RealHost]]:
    """One real host an executor, each with a service that rests; all end in order and leave nothing."""
    running: dict[str, RealHost] = {}
    yield running
    for executor, host in running.items():
        host.send(signal.SIGTERM)
        code = host.wait()
        # Its end says whether a supervisor has given up, as one does in a row of its own.
        assert code == int(host.count("supervisor_gave_up") > 0), executor
        assert not host.processes(), executor
        host.end_all()


def host_for(executor: str, running: dict[str, RealHost]) -> RealHost:
    if executor not in running:
        resting = {"id": "w", "python": "services:Living", "executor": executor, "readiness": {"kind": "notify"}}
        host = RealHost()
        running[executor] = host
        host.start(
            {
                "host": {"python": sys.executable, "python_path": [str(PACKAGE), str(HERE)]},
                "supervisors": [{"id": "rest", "children": [resting]}],
            }
        )
        host.wait_for("supervisor_started", "rest")
    return running[executor]


def cells() -> Iterator[object]:
    for executor in EXECUTORS:
        for number, row in enumerate(ITEMS):
            if executor not in row.not_for:
                yield pytest.param(executor, row, f"t{number}", id=f"{executor}-{row.name.replace(' ', '_')}")


@pytest.mark.native
@pytest.mark.parametrize(("executor", "row", "id"), list(cells()))
def test_conforms(executor: str, row: Item, id: str, hosts: dict[str, RealHost]) -> None:
    host = host_for(executor, hosts)
    cell = Cell(host, executor, id)
    row.check(cell)
    cell.end()
    assert host.process is not None and host.process.poll() is None


def matrix() -> str:
    """The table: a row an item, a column an executor; every cell that is marked is a test."""
    reasons: list[str] = []
    lines = ["| what must be true | " + " | ".join(EXECUTORS) + " |", "|---" * (len(EXECUTORS) + 1) + "|"]
    for row in ITEMS:
        marks = []
        for executor in EXECUTORS:
            if (reason := row.not_for.get(executor)) is None:
                marks.append("yes")
            else:
                if reason not in reasons:
                    reasons.append(reason)
                marks.append(f"- ({reasons.index(reason) + 1})")
        lines.append(f"| {row.name} | " + " | ".join(marks) + " |")
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes, ""])


def test_the_matrix_in_the_docs_is_this_one() -> None:
    head, _, _ = DOCUMENT.read_text(encoding="utf-8").partition("| what must be true")
    if os.environ.get("UNIRUN_WRITE_MATRIX"):
        DOCUMENT.write_text(head + matrix(), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == head + matrix(), (
        "say: UNIRUN_WRITE_MATRIX=1 pytest tests/conformance"
    )
