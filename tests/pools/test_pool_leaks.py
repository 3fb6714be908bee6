"""A million tasks leave nothing: no memory, thread, descriptor, process or future."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pool_engines import flavors

import unirun

pytestmark = pytest.mark.native

HERE = Path(__file__).parent
PACKAGE = Path(unirun.__file__).parents[1]
NOTICEABLE = 9 << 20  # Bytes: the allocator's own moods stay below.


def counts() -> Iterator[object]:
    for flavor in flavors():
        yield pytest.param(flavor, 50_000, id=f"{flavor}-50,000")
        yield pytest.param(
            flavor, 1_000_000, id=f"{flavor}-1,000,000", marks=[pytest.mark.timeout(1500), pytest.mark.slow]
        )


@pytest.mark.parametrize(("flavor", "count"), list(counts()))
def test_many_tasks_leave_nothing(flavor: str, count: int) -> None:
    ran = subprocess.run(
        [sys.executable, HERE / "pool_leaks.py", flavor, str(count)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE), str(HERE)])},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    left = json.loads(ran.stdout)
    assert left.pop("bytes") < NOTICEABLE
    assert left == {"futures": 0, "threads": 0, "descriptors": 0, "processes": 0}
