#!/usr/bin/env python3
"""What a supervisor costs: memory, idle wake-ups, and the time to start and to stop all its children.

usage: footprint.py [--children 1 100 500] [--idle-seconds 30] [--rounds 1] [--only NAME ...]

PSS, context switches and CPU time are summed over the supervisor's own processes, not over the children. ``start`` is
from the launch of the supervisor to the last child's first act, ``stop`` from the request to its own end.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import systems
from crash_restart import Acts, build, wait_for_all

KINDS: list[type[systems.System]] = [*systems.ALL, systems.FloorInOrder]


def own_processes(root: int, children: set[int]) -> list[int]:
    """The supervisor's processes: ``root`` and its descendants, without the children it keeps alive."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents[int(entry.name)] = int(stat.rsplit(")", 1)[1].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid and child not in children]
    return found


def pss_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def activity(pids: list[int]) -> tuple[int, float]:
    """(context switches, CPU milliseconds) of all threads of these processes so far."""
    switches, ticks = 0, 0.0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            for line in (task / "status").read_text().splitlines():
                if "ctxt_switches" in line:
                    switches += int(line.split()[1])
            ticks += int((task / "schedstat").read_text().split()[0]) / 1e6
    return switches, ticks


def measure(kind: type[systems.System], act: Path, count: int, idle: float) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="unirun-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        acts = Acts(folder / "fifo")
        own = folder / "system"
        own.mkdir()
        system = kind(folder=own, count=count, act=act, fifo=folder / "fifo")
        begin = time.monotonic()
        system.start()
        try:
            wait_for_all(system, acts)
            row = {"start_ms": (time.monotonic() - begin) * 1e3}
            time.sleep(3)  # Let it come to rest.
            pids = own_processes(system.pid, set(acts.pids.values()))
            row["pss_mib"] = sum(map(pss_kib, pids)) / 1024
            switches, cpu = activity(pids)
            time.sleep(idle)
            later, later_cpu = activity(pids)
            row |= {"switches": later - switches, "cpu_ms": later_cpu - cpu}
        finally:
            begin = time.monotonic()
            system.stop()
            stopped = (time.monotonic() - begin) * 1e3
            left = acts.kill_survivors()
        return row | {"stop_ms": stopped, "left": left}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, nargs="+", default=[1, 100, 500])
    parser.add_argument("--idle-seconds", type=float, default=30)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    columns = ["pss_mib", "switches", "cpu_ms", "start_ms", "stop_ms", "left"]
    print(f"{'system':14} {'children':>8} " + " ".join(f"{column:>9}" for column in columns))
    with tempfile.TemporaryDirectory(prefix="unirun-bench-") as name:
        act = build(Path(name))
        for count in options.children:
            rows: dict[str, list[dict[str, float]]] = {}
            for _ in range(options.rounds):
                for kind in KINDS:
                    if kind.missing() or (options.only and kind.name not in options.only):
                        continue
                    rows.setdefault(kind.name, []).append(measure(kind, act, count, options.idle_seconds))
            for system, found in rows.items():
                figures = [statistics.median(row[column] for row in found) for column in columns]
                print(f"{system:14} {count:8} " + " ".join(f"{figure:9.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
