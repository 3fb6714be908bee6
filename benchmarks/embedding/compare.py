#!/usr/bin/env python3
"""A C++ program that has Python run, beside bare floors and what one writes in five minutes: a table with the goals.

The program measures in turns and prints medians; this names the CPUs, sets them beside the goals, and says what is
missed. The program is searched for beside `UNIRUN_BINARY`.

usage: compare.py [--cpus 0] [--rounds 9]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

RELEASE = Path(__file__).resolve().parents[2] / "build" / "release" / "bin" / "unirun"


@dataclass(frozen=True)
class Row:
    metric: str
    unit: str
    value: float
    floor: float  # 0, here and below: there is none.
    rival: float

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")

    def times_floor(self) -> float:
        """How many times the bare thing takes us; 0 where there is no floor."""
        if not self.floor:
            return 0
        return self.floor / self.value if self.more_is_better else self.value / self.floor

    def better_than_rival(self) -> float:
        if not self.rival:
            return 0
        return self.value / self.rival if self.more_is_better else self.rival / self.value


@dataclass(frozen=True)
class Goal:
    """What is to be reached; each part that is given has to be."""

    value: float = 0
    times_floor: float = 0
    better_than_rival: float = 0
    one_cpu_only: bool = False

    def verdict(self, row: Row) -> str:
        parts = []
        if self.value:
            met = row.value >= self.value if row.more_is_better else row.value <= self.value
            parts.append((met, f"{self.value:g} {row.unit}"))
        if self.times_floor:
            parts.append((row.times_floor() <= self.times_floor, f"{self.times_floor:g} x floor"))
        if self.better_than_rival:
            parts.append((row.better_than_rival() >= self.better_than_rival, f"{self.better_than_rival:g} x rival"))
        return "; ".join(f"{text}: {'met' if met else '**missed**'}" for met, text in parts)


GOALS = {
    "round trip p50": Goal(times_floor=1.3),
    "round trip with a timeout p50": Goal(value=5.5, times_floor=1.3, one_cpu_only=True),
    "submit to a parked worker's first statement p50": Goal(times_floor=1.5),
    "calls of a Python function, one caller": Goal(value=240, one_cpu_only=True),
    "the same, 16 callers and one worker": Goal(value=150),
    "submit, the caller's cost": Goal(value=0.15),
    "submit 10,000, get() each": Goal(value=5),
    "a task of a batch of 64, there and back": Goal(value=0.2, better_than_rival=3),
    "statistics, of a task's time in a burst": Goal(value=5),
    "coroutines, one at a time": Goal(value=90, better_than_rival=1.8, one_cpu_only=True),
    "coroutines, 10,000 at once": Goal(value=350, better_than_rival=3.5),
    "a level of callbacks, 10,000 deep": Goal(value=2),
    "GILGuard, when nobody runs Python": Goal(value=0.15),
}


def measured(rounds: int) -> Iterator[Row]:
    program = Path(os.environ.get("UNIRUN_BINARY", RELEASE)).with_name("embedding_bench")
    if not program.exists():
        raise SystemExit(
            f"{program} is not there: build the preset `release` with a Python that has a shared libpython"
        )
    with subprocess.Popen([program, str(rounds)], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        for line in running.stdout:
            yield Row(**json.loads(line))
    if running.returncode:
        raise SystemExit(f"{program} ended with {running.returncode}")


def cell(number: float, unit: str = "") -> str:
    return f"{number:.3g} {unit}".rstrip() if number else ""


def main() -> None:
    arguments = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    arguments.add_argument("--cpus", help="only these, as 0 or 0,1")
    arguments.add_argument("--rounds", type=int, default=9)
    chosen = arguments.parse_args()
    if chosen.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in chosen.cpus.split(",")})
    is_one_cpu = len(os.sched_getaffinity(0)) == 1
    print("| what | unirun | floor | x floor | rival | x better | goal |")
    print("|---|---|---|---|---|---|---|")
    for row in measured(chosen.rounds):
        goal = GOALS.get(row.metric, Goal())
        cells = [
            row.metric,
            cell(row.value, row.unit),
            cell(row.floor, row.unit),
            cell(row.times_floor()),
            cell(row.rival, row.unit),
            cell(row.better_than_rival()),
            goal.verdict(row) if is_one_cpu or not goal.one_cpu_only else "",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
