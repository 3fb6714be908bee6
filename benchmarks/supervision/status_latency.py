#!/usr/bin/env python3
"""How long `unirun status` takes against a host of many children: the whole command, from its start to its end.

usage: status_latency.py [--children 1000] [--calls 30]

Beside it `unirun version`, which asks no host: what is left is the question and its answer.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import systems
from crash_restart import Acts, build, wait_for_all


def milliseconds(command: list[str]) -> float:
    begin = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return (time.monotonic() - begin) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--children", type=int, default=1000)
    parser.add_argument("--calls", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="unirun-bench-") as name:
        folder = Path(name)
        acts = Acts(folder / "fifo")
        own = folder / "system"
        own.mkdir()
        host = systems.Unirun(folder=own, count=options.children, act=build(folder), fifo=folder / "fifo")
        host.start()
        try:
            wait_for_all(host, acts)
            time.sleep(1)
            binary = systems.unirun_binary()
            socket = next((own / "run").glob("*.sock"))
            commands = {
                "unirun status": [binary, "--socket", str(socket), "status"],
                "unirun status --json": [binary, "--socket", str(socket), "status", "--json"],
                "unirun version": [binary, "version"],
            }
            taken: dict[str, list[float]] = {what: [] for what in commands}
            for _ in range(options.calls):
                for what, command in commands.items():
                    taken[what].append(milliseconds(command))
        finally:
            host.stop()
            acts.kill_survivors()
    print(f"{options.children} children {'':10} {'n':>5} {'p50 ms':>8} {'max ms':>8}")
    for what, values in taken.items():
        print(f"{what:24} {len(values):5} {statistics.median(values):8.1f} {max(values):8.1f}")


if __name__ == "__main__":
    main()
