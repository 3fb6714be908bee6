"""What goes wrong in a pool ends as it does in the standard library's, outcome and words.

The table stands in docs/pools-faults.md; ``UNIRUN_WRITE_MATRIX=1 pytest tests/pools`` renews it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pool_engines import CLASSES, flavors
from pool_faults import FAULTS, Fault, without_addresses

import unirun

DOCUMENT = Path(__file__).parents[2] / "docs/pools-faults.md"
HERE = Path(__file__).parent
PACKAGE = Path(unirun.__file__).parents[1]
FIRST = "| what goes wrong"


def said(stderr: str) -> list[str]:
    """What stands on stderr, each line once (as many workers as tried say it), but for source lines."""
    return list(dict.fromkeys(without_addresses(line) for line in stderr.splitlines() if not line.startswith(" ")))


def play(engine: str, flavor: str, name: str, directory: Path) -> dict[str, Any]:
    """What came of one scene: what it gave back, what its tasks told, how it ended, and with which words."""
    directory.mkdir()
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", HERE / "pool_scene.py", engine, flavor, name, directory],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(HERE)])},
        capture_output=True,
        text=True,
        timeout=700,
    )
    outcome, told = directory / "outcome", directory / "told"
    assert outcome.exists(), f"{name} ended early on the {engine} {flavor}: {ran.returncode}\n{ran.stderr[-3000:]}"
    return {
        "outcome": json.loads(outcome.read_text(encoding="utf-8")),
        "told": sorted(told.read_text(encoding="utf-8").splitlines()) if told.exists() else [],
        "exit code": ran.returncode,
        "stderr": said(ran.stderr),
    }


def cells() -> Iterator[object]:
    for flavor in flavors():
        for name, row in FAULTS.items():
            if flavor not in row.not_for:
                marks = [pytest.mark.timeout(1500), *([pytest.mark.slow] if row.slow else [])]
                yield pytest.param(flavor, name, id=f"{flavor}-{name}", marks=marks)


@pytest.mark.native
@pytest.mark.parametrize(("flavor", "name"), list(cells()))
def test_ends_as_the_standard_librarys(flavor: str, name: str, tmp_path: Path) -> None:
    standard = play("standard", flavor, name, tmp_path / "standard")
    native = play("native", flavor, name, tmp_path / "native")
    if difference := FAULTS[name].meant.get(flavor):
        for part, otherwise in difference.parts.items():
            assert native[part] != standard[part], "it differs no more"
            assert re.fullmatch(otherwise, "\n".join(native[part]), re.DOTALL), native[part]
            standard[part] = native[part]
    assert native == standard


def table() -> str:
    """A row a fault, a column a flavor; *same* is a test against the standard library, a number is a reason."""
    reasons: list[str] = []

    def mark(row: Fault, flavor: str) -> str:
        if flavor in row.not_for:
            word, reason = "-", row.not_for[flavor]
        elif flavor in row.meant:
            word, reason = "other", row.meant[flavor].why
        else:
            return "same"
        if reason not in reasons:
            reasons.append(reason)
        return f"{word} ({reasons.index(reason) + 1})"

    lines = [f"{FIRST} | " + " | ".join(CLASSES) + " |", "|---" * (len(CLASSES) + 1) + "|"]
    for row in FAULTS.values():
        lines.append(f"| {row.name} | " + " | ".join(mark(row, flavor) for flavor in CLASSES) + " |")
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([*lines, "", *notes, ""])


def test_the_table_in_the_docs_is_this_one() -> None:
    head, _, _ = DOCUMENT.read_text(encoding="utf-8").partition(FIRST)
    if os.environ.get("UNIRUN_WRITE_MATRIX"):
        DOCUMENT.write_text(head + table(), encoding="utf-8")
    assert DOCUMENT.read_text(encoding="utf-8") == head + table(), "say: UNIRUN_WRITE_MATRIX=1 pytest tests/pools"
