"""The storm, without a sanitizer; `make sanitize` runs it longer, under TSan and ASan."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.native


@pytest.mark.timeout(300)
def test_a_storm_of_tasks_loses_none_and_ends_each_once() -> None:
    script = Path(__file__).with_name("stress.py")
    ended = subprocess.run([sys.executable, script, "--rounds", "50"], capture_output=True, text=True, timeout=240)
    assert (ended.returncode, ended.stderr) == (0, "")
