#!/usr/bin/env python3
"""What 100,000 restarts leave behind in the host, and how many of them fit into a second.

usage: growth.py [--restarts 20000] [--services 40] [--rounds 1]

Services that end at once are started again without any wait, until their program is one that stays. PSS of the host
alone is read two seconds after a storm of a tenth of the restarts, which fills what is kept for good, and again two
seconds after one of all of them. ``peak`` is the highest within the second storm: what waits in queues then counts.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import systems
from footprint import activity, pss_kib

EXITED = b'{"event":"service_exited"'
SETTLING = 2.0


class Storm(systems.Unirun):
    """A host whose services end at once and are started again at once; or stay, while it is calm."""

    def prepare(self) -> None:
        super().prepare()
        self.let_program_be("false")
        file = self.folder / "unirun.json"
        config = json.loads(file.read_text())
        command = [str(self.folder / "program"), "1000"]
        config["supervisors"][0]["children"] = [{"id": "w", "instances": self.count, "command": command}]
        file.write_text(json.dumps(config))

    def let_program_be(self, name: str) -> None:
        found = shutil.which(name)
        assert found is not None
        draft = self.folder / "program.new"
        draft.symlink_to(found)
        draft.rename(self.folder / "program")

    def start(self) -> None:
        self.prepare()
        self.process = subprocess.Popen(
            self.argv(),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=(self.folder / "stderr").open("wb"),
            start_new_session=True,
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)

    def read_events(self, patience: float) -> bytes:
        """What the host has printed; nothing if it prints nothing for so many seconds."""
        assert self.process is not None and self.process.stdout is not None
        if not select.select([self.process.stdout], [], [], patience)[0]:
            return b""
        chunk = self.process.stdout.read(1 << 20)
        if not chunk:
            sys.exit(f"the host has ended\n{(self.folder / 'stderr').read_text(errors='replace')}")
        return bytes(chunk)

    def rage(self, restarts: int) -> tuple[int, int]:
        """A storm of so many restarts, and the calm after it; returns how many there were, and PSS at its highest."""
        self.let_program_be("false")
        for child in self.children():
            os.kill(child, signal.SIGKILL)
        exits, peak, next_look, rest = 0, 0, 0, b""
        while exits < restarts:
            lines, newline, rest = (rest + self.read_events(30.0)).rpartition(b"\n")
            exits += (lines + newline).count(EXITED)
            if exits >= next_look:
                peak, next_look = max(peak, pss_kib(self.pid)), exits + restarts // 100
        self.let_program_be("sleep")
        return exits, peak

    def calm(self) -> int:
        """PSS when it has been quiet for a while."""
        while self.read_events(SETTLING):
            pass
        return pss_kib(self.pid)

    def children(self) -> list[int]:
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in listed if Path(f"/proc/{pid}/comm").read_text() == "program\n"]


def measure(options: argparse.Namespace) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="unirun-bench-") as name:
        host = Storm(folder=Path(name), count=options.services, act=Path(), fifo=Path())
        host.start()
        try:
            host.rage(options.restarts // 10)
            before = host.calm()
            (_, cpu_before), begin = activity([host.pid]), time.monotonic()
            exits, peak = host.rage(options.restarts)
            seconds, (_, cpu_after) = time.monotonic() - begin, activity([host.pid])
            after = host.calm()
        finally:
            # What it prints while it stops must not fill the pipe.
            assert host.process is not None and host.process.stdout is not None
            os.set_blocking(host.process.stdout.fileno(), True)
            host.process.terminate()
            host.process.stdout.read()
            host.wait()
    return {
        "restarts": exits,
        "a_second": exits / seconds,
        "host_cpu_us": (cpu_after - cpu_before) * 1e3 / exits,
        "before_kib": before,
        "peak_kib": peak,
        "after_kib": after,
        "growth_kib": after - before,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--restarts", type=int, default=20_000, help="100,000 for the goal; some two minutes")
    parser.add_argument("--services", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    rows = [measure(options) for _ in range(options.rounds)]
    print(f"{options.services} services that end at once, {options.rounds} rounds, medians")
    for column in rows[0]:
        print(f"{column:12} {statistics.median(row[column] for row in rows):12.1f}")


if __name__ == "__main__":
    main()
