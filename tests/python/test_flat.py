"""A hundred thousand lives leave nothing behind: objects, threads, descriptors, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from worker_host import PACKAGE

pytestmark = pytest.mark.native

HERE = Path(__file__).parent


@pytest.mark.parametrize("executor", ["thread", "async"])
@pytest.mark.parametrize(
    ("warm_up", "count"),
    [
        (10_000, 2_000),
        pytest.param(20_000, 100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
def test_lives_leave_nothing_behind(tmp_path: Path, executor: str, warm_up: int, count: int) -> None:
    ran = subprocess.run(
        [sys.executable, HERE / "flat_lives.py", executor, str(warm_up), str(count), tmp_path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(HERE)])},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    grown = json.loads(ran.stdout)
    assert grown["objects"] < 500, grown
    assert abs(grown["threads"]) <= 2, grown  # One may be ending while the next begins.
    assert abs(grown["threads of threading"]) <= 1, grown
    assert abs(grown["descriptors"]) <= 2, grown
    # What leaks grows with every fifth. A heap that a busy machine made larger in one step stays so, and is no leak.
    assert min(grown["resident"]) < 1 << 20, grown
