"""The storm, without a sanitizer; `make sanitize` runs it longer, under TSan and ASan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.native


@pytest.mark.timeout(500)
@pytest.mark.parametrize(("name", "rounds"), [("stress.py", 50), ("stress_processes.py", 5)])
def test_a_storm_of_tasks_loses_none_and_ends_each_once(name: str, rounds: int) -> None:
    script = Path(__file__).with_name(name)
    ended = subprocess.run(
        [sys.executable, script, "--rounds", str(rounds)], capture_output=True, text=True, timeout=400
    )
    assert (ended.returncode, ended.stderr) == (0, "")
