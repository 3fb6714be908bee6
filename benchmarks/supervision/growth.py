#!/usr/bin/env python3
"""What 100,000 restarts leave behind in the host, and how many of them fit into a second.

usage: growth.py [--restarts 20000] [--services 40] [--command false] [--rounds 1]

Services that end at once are started again without any wait. PSS of the host alone is read at every hundredth of the
restarts, and its least in the second tenth stands against its least in the last: what is on its way through a queue at
one moment comes and goes, what belongs to a dead run and is kept stays.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import systems
from footprint import activity, pss_kib

EXITED = b'{"event":"service_exited"'


class Storm(systems.Unirun):
    """A host whose services end at once, and are started again at once."""

    command: str = "false"

    def prepare(self) -> None:
        super().prepare()
        file = self.folder / "unirun.json"
        config = json.loads(file.read_text())
        config["supervisors"][0]["children"] = [{"id": "w", "instances": self.count, "command": [self.command]}]
        file.write_text(json.dumps(config))

    def start(self) -> None:
        self.prepare()
        self.process = subprocess.Popen(
            self.argv(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("wb"),
            start_new_session=True,
        )

    def count_exits(self, wanted: int) -> int:
        """Reads the host's events until so many services have ended; returns how many have."""
        assert self.process is not None and self.process.stdout is not None
        exits, rest = 0, b""
        while exits < wanted:
            chunk = os.read(self.process.stdout.fileno(), 1 << 20)
            if not chunk:
                sys.exit(f"the host has ended\n{(self.folder / 'stderr').read_text(errors='replace')}")
            lines, newline, rest = (rest + chunk).rpartition(b"\n")
            exits += (lines + newline).count(EXITED)
        return exits


def measure(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="unirun-bench-") as name:
        host = Storm(folder=Path(name), count=options.services, act=Path(), fifo=Path())
        host.command = options.command
        host.start()
        try:
            step = max(1, options.restarts // 100)
            for _ in range(10):  # Fills what is kept for good: rings of output, the journal's cache.
                host.count_exits(step)
            (_, cpu_before), begin, exits = activity([host.pid]), time.monotonic(), 0
            memory = []
            for _ in range(90):
                exits += host.count_exits(step)
                memory.append(pss_kib(host.pid))
            seconds, (_, cpu_after) = time.monotonic() - begin, activity([host.pid])
            before, after = min(memory[:10]), min(memory[-10:])
        finally:
            # What it prints while it stops must not fill the pipe.
            assert host.process is not None and host.process.stdout is not None
            host.process.terminate()
            host.process.stdout.read()
            host.wait()
    return {
        "restarts": exits,
        "a_second": exits / seconds,
        "host_cpu_us": (cpu_after - cpu_before) * 1e3 / exits,
        "before_kib": before,
        "after_kib": after,
        "growth_kib": after - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20_000, help="100,000 for the goal; some two minutes")
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--command", default="false", help="what a service runs; it is to end at once")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rows = [measure(options) for _ in range(options.rounds)]
    print(f"{options.services} services of '{options.command}', {options.rounds} rounds, medians")
    for column in rows[0]:
        print(f"{column:12} {statistics.median(row[column] for row in rows):12.1f}")


if __name__ == "__main__":
    main()
