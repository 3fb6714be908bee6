"""Leads very many lives in a host of its own and tells what is left of them.

usage: flat_lives.py EXECUTOR WARM_UP COUNT DIRECTORY

Prints one JSON object: how much more there is after COUNT lives than after WARM_UP. "resident" is a list: by how many
bytes each fifth of them grew. A process of its own: what others have done in it before would count, too.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

import unirun
from unirun import Child, Supervisor
from worker_host import PACKAGE, TARGETS

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


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def footprint() -> dict[str, int]:
    gc.collect()
    return {
        "objects": len(gc.get_objects()),
        "threads": len(os.listdir("/proc/self/task")),
        "descriptors": len(os.listdir("/proc/self/fd")),
        "threads of threading": threading.active_count(),
    }


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


def grown_by(executor: str, warm_up: int, count: int, directory: Path) -> dict[str, Any]:
    lives = Lives()
    lives.wanted = warm_up
    with host_of(lives, executor, directory):
        lives.reach(warm_up)
        before = footprint()
        sizes = [resident()]
        for fifth in range(1, 6):
            lives.reach(warm_up + count * fifth // 5)
            sizes.append(resident())
        after = footprint()
    grown: dict[str, Any] = {name: after[name] - before[name] for name in before}
    return {**grown, "resident": [later - earlier for earlier, later in itertools.pairwise(sizes)]}


if __name__ == "__main__":
    print(json.dumps(grown_by(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
