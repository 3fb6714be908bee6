"""A hundred thousand lives leave nothing behind: objects, threads, descriptors, memory."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import unirun
from unirun import Child, Supervisor
from worker_host import PACKAGE, TARGETS

pytestmark = pytest.mark.native

PATIENCE = 300.0


class Lives:
    """A target that raises at once, until as many lives as are wanted have been led."""

    def __init__(self) -> None:
        self.count = 0
        self.wanted = 0
        self.reached = threading.Event()

    def reach(self, count: int) -> None:
        self.reached.clear()
        self.wanted = count
        assert self.reached.wait(PATIENCE), f"{self.count} of {count} lives"

    def lead(self, context: unirun.ServiceContext) -> None:
        self.count += 1
        if self.count >= self.wanted:
            self.reached.set()
            if self.count > self.wanted:  # While it is measured they come one by one.
                context.cancellation.wait(0.01)
        raise LookupError("again")

    async def lead_async(self, _context: unirun.ServiceContext) -> None:
        self.count += 1
        if self.count >= self.wanted:
            self.reached.set()
            if self.count > self.wanted:
                import asyncio

                await asyncio.sleep(0.01)
        raise LookupError("again")


def footprint() -> dict[str, int]:
    gc.collect()
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return {
        "objects": len(gc.get_objects()),
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "resident": resident,
        "threads of threading": threading.active_count(),
    }


def growth_that_stays(before: dict[str, int]) -> dict[str, int]:
    """What is more than before, once events that are on their way have come and spare pages have been given back."""
    deadline = time.monotonic() + 60
    while True:
        now = footprint()
        grown = {name: now[name] - before[name] for name in before}
        if grown["resident"] < 8 << 20 or time.monotonic() > deadline:
            return grown
        time.sleep(0.1)


def host_of(lives: Lives, executor: str, directory: Path) -> unirun.Host:
    target: Any = lives.lead if executor == "thread" else lives.lead_async
    child = Child("one", target=target, executor=executor)  # type: ignore[arg-type]
    return unirun.Host(
        [Supervisor("tree", children=[child], max_restarts=1_000_000_000, period=1.0)],
        state_dir=str(directory / "state"),
        runtime_dir=str(directory / "run"),
        python_path=[str(PACKAGE), str(TARGETS)],
        control=False,
        journal=False,
    )


@pytest.mark.parametrize("executor", ["thread", "async"])
@pytest.mark.parametrize(
    ("warm_up", "count"),
    [(300, 2_000), pytest.param(20_000, 100_000, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_lives_leave_nothing_behind(tmp_path: Path, executor: str, warm_up: int, count: int) -> None:
    lives = Lives()
    lives.wanted = warm_up
    with host_of(lives, executor, tmp_path):
        lives.reach(warm_up)
        before = footprint()
        lives.reach(warm_up + count)
        grown = growth_that_stays(before)
    assert grown["objects"] < 500, grown
    assert abs(grown["threads"]) <= 2, grown  # One may be ending while the next begins.
    assert abs(grown["threads of threading"]) <= 1, grown
    assert abs(grown["descriptors"]) <= 2, grown
    assert grown["resident"] < 8 << 20, grown
