#!/usr/bin/env python3
"""From SIGKILL to the replacement's first act, for every supervisor installed, in turn.

usage: crash_restart.py [--children 20] [--kills 70] [--rounds 3] [--gap-ms 60] [--only NAME ...] [--together]
                        [--payload c|python|python-heavy] [--resident-mb 0]

Each round starts every system once, kills one child after another (the gap gives runit the second of uptime that it
asks for), and reads when the new main began. Prints p50, p99 and their ratio to the floor and to unirun.
``--together`` kills all children at once instead and reports when the last one is back.
``python-heavy`` is a worker that has imported json, asyncio, http and ssl: from a template, a standby, a fork server.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import systems

HERE = Path(__file__).resolve().parent


def build(folder: Path, payload: str = "c") -> Path:
    """Compiles the static child and the floor; returns the child, which may be a cold Python instead."""
    for name in ("act", "floor"):
        subprocess.run(["gcc", "-O2", "-static", "-o", folder / name, HERE / f"{name}.c"], check=True)
    if payload != "python":
        return folder / "act"
    script = folder / "act.py"
    script.write_text(f"#!{sys.executable}\n" + (HERE / "act.py").read_text())
    script.chmod(0o755)
    return script


class Acts:
    """Reads what the children say on the fifo."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self.rest = b""
        self.pids: dict[int, int] = {}

    def next(self, timeout: float) -> tuple[int, int, int] | None:
        """(id, pid, nanoseconds) of the next act, or None after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self.rest:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.descriptor], [], [], left)[0]:
                return None
            self.rest += os.read(self.descriptor, 65536)
        line, self.rest = self.rest.split(b"\n", 1)
        index, pid, when = map(int, line.split())
        self.pids[index] = pid
        return index, pid, when

    def kill_survivors(self) -> int:
        """Ends what the system left behind (several do); returns how many there were."""
        survivors = 0
        for pid in self.pids.values():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                survivors += 1
        os.close(self.descriptor)
        return survivors


def wait_for_all(system: systems.System, acts: Acts) -> None:
    """Waits until every child has acted."""
    while len(acts.pids) < system.count:
        if acts.next(60) is None:
            said = (system.folder / "stderr").read_text(errors="replace")
            sys.exit(f"{system.name}: only {len(acts.pids)} of {system.count} children started\n{said}")


def one_by_one(system: systems.System, acts: Acts, kills: int, gap: float) -> list[int]:
    wait_for_all(system, acts)
    time.sleep(1.2)  # runit and supervisord want a second of uptime before they restart at once.
    delays = []
    for kill in range(kills):
        index = kill % system.count
        begin = time.monotonic_ns()
        os.kill(acts.pids[index], signal.SIGKILL)
        act = acts.next(10)
        if act is None or act[0] != index:
            sys.exit(f"{system.name}: child {index} did not come back within 10 s")
        delays.append(act[2] - begin)
        time.sleep(gap)
    return delays


def together(system: systems.System, acts: Acts) -> list[int]:
    wait_for_all(system, acts)
    time.sleep(1.5)
    begin = time.monotonic_ns()
    for pid in acts.pids.values():
        os.kill(pid, signal.SIGKILL)
    last = 0
    for _ in range(system.count):
        act = acts.next(30)
        if act is None:
            sys.exit(f"{system.name}: not every child came back")
        last = max(last, act[2])
    return [last - begin]


def measure(kind: type[systems.System], act: Path, options: argparse.Namespace) -> list[int]:
    # runsvdir leaves before its children have: what they still write to their folder is of no interest.
    with tempfile.TemporaryDirectory(prefix="unirun-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        acts = Acts(folder / "fifo")
        own = folder / "system"
        own.mkdir()
        system = kind(folder=own, count=options.children, act=act, fifo=folder / "fifo")
        system.start()
        try:
            if options.together:
                return together(system, acts)
            return one_by_one(system, acts, options.kills, options.gap_ms / 1000)
        finally:
            system.stop()
            acts.kill_survivors()


def percentile(values: list[int], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e3


def report_heavy(delays: dict[str, list[int]], options: argparse.Namespace) -> None:
    p50 = {name: statistics.median(values) for name, values in delays.items()}
    print(
        f"SIGKILL to first act, {options.children} Python workers with heavy imports, "
        f"{options.resident_mb} MB resident in the dying one (us)"
    )
    print(
        f"{'system':16} {'n':>5} {'p50':>10} {'p99':>10} {'x zygote':>9} {'x standby':>9} {'server/':>8} {'cold/':>8}"
    )

    def ratio(over: float | None, under: float | None) -> float:
        return over / under if over and under else 0

    for name, values in delays.items():
        print(
            f"{name:16} {len(values):5} {p50[name] / 1e3:10.0f} {percentile(values, 0.99):10.0f}"
            f" {ratio(p50[name], p50.get('bare zygote')):9.2f} {ratio(p50[name], p50.get('bare standby')):9.2f}"
            f" {ratio(p50.get('fork server'), p50[name]):8.2f} {ratio(p50.get('unirun cold'), p50[name]):8.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=20)
    parser.add_argument("--kills", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gap-ms", type=float, default=60)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--together", action="store_true")
    parser.add_argument("--payload", choices=["c", "python", "python-heavy"], default="c", help="the child")
    parser.add_argument("--resident-mb", type=int, default=0, help="in each python-heavy worker when it is killed")
    options = parser.parse_args()
    systems.PythonWorkers.megabytes = options.resident_mb
    all_kinds = systems.HEAVY if options.payload == "python-heavy" else systems.ALL
    kinds = [kind for kind in all_kinds if not options.only or kind.name in options.only]
    for kind in [kind for kind in kinds if kind.missing()]:
        print(f"not measured: {kind.name} (apt-get install {kind.missing()})")
        kinds.remove(kind)
    delays: dict[str, list[int]] = {kind.name: [] for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="unirun-bench-") as name:
        act = build(Path(name), options.payload)
        for _ in range(options.rounds):
            for kind in kinds:
                delays[kind.name] += measure(kind, act, options)
    report_heavy(delays, options) if options.payload == "python-heavy" else report(delays, options)


def report(delays: dict[str, list[int]], options: argparse.Namespace) -> None:
    floor = statistics.median(delays["floor"]) if "floor" in delays else None
    ours = statistics.median(delays["unirun"]) if "unirun" in delays else None
    what = "all at once, the last back" if options.together else "one at a time"
    print(f"SIGKILL to first act, {options.children} {options.payload} children, {what} (us)")
    print(f"{'system':14} {'n':>5} {'p50':>10} {'p99':>10} {'x floor':>8} {'x unirun':>8}")
    for name, values in delays.items():
        p50 = statistics.median(values)
        print(
            f"{name:14} {len(values):5} {p50 / 1e3:10.0f} {percentile(values, 0.99):10.0f}"
            f" {p50 / floor if floor else 0:8.2f} {p50 / ours if ours else 0:8.2f}"
        )


if __name__ == "__main__":
    main()
