#!/usr/bin/env python3
"""Every benchmark, one after another; what `make bench` runs. docs/benchmarks.md says what each figure means.

usage: run.py [--quick]
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CRASH = "supervision/crash_restart.py"
FOOTPRINT = "supervision/footprint.py"
GROWTH = "supervision/growth.py"
START_PYTHON = "supervision/start_python.py"
SPAWN_COST = "supervision/spawn_cost.py"
STATUS = "supervision/status_latency.py"
ONE_CPU = ["--cpus", "0"]

FULL = [
    [CRASH, "--children", "20", "--kills", "70", "--rounds", "3"],
    [CRASH, "--children", "200", "--together", "--rounds", "5"],
    [CRASH, "--children", "20", "--kills", "70", "--rounds", "3", "--payload", "python"],
    *(
        [CRASH, "--payload", "python-heavy", "--children", "4", "--kills", "40", "--rounds", "3", *resident]
        for resident in (
            ["--resident-mb", "25", "--gap-ms", "150"],
            ["--resident-mb", "100", "--gap-ms", "400"],
            ["--resident-mb", "500", "--gap-ms", "1500"],
        )
    ),
    [START_PYTHON],
    [FOOTPRINT, "--children", "1", "100", "200", "500"],
    [SPAWN_COST],
    [GROWTH, "--restarts", "100000"],
    [STATUS],
    ["bus.py"],
    ["loop/compare.py"],
    ["pools/threads.py", *ONE_CPU],
    ["pools/threads.py"],
    ["pools/processes.py", *ONE_CPU],
    ["pools/processes.py"],
    ["pools/interpreters.py", *ONE_CPU],
    ["pools/bridge.py", *ONE_CPU],
    ["pools/bridge.py"],
    ["pools/imports.py"],
    ["pools/compat.py", *ONE_CPU],
    ["embedding/compare.py", *ONE_CPU],
    ["embedding/compare.py"],
    ["../tests/faults/chaos.py", "--seconds", "600"],
]
QUICK = [
    [CRASH, "--children", "20", "--kills", "20", "--rounds", "1"],
    [CRASH, "--children", "200", "--together", "--rounds", "1"],
    [CRASH, "--payload", "python-heavy", "--children", "4", "--kills", "20", "--rounds", "1", "--gap-ms", "150"],
    [START_PYTHON, "--children", "50", "--rounds", "1"],
    [FOOTPRINT, "--children", "1", "100", "--idle-seconds", "5"],
    [SPAWN_COST, "--kills", "20", "--rounds", "1"],
    [GROWTH],
    [STATUS, "--calls", "10"],
    ["bus.py"],
    ["loop/compare.py", "--rounds", "1"],
    *([f"pools/{name}.py", *ONE_CPU, "--rounds", "1"] for name in ("threads", "processes", "interpreters", "bridge")),
    ["pools/imports.py", "--rounds", "5"],
    ["embedding/compare.py", "--rounds", "3"],
]


def main() -> None:
    for name, *arguments in QUICK if "--quick" in sys.argv else FULL:
        print(f"\n== {name} {' '.join(arguments)}", flush=True)
        subprocess.run([sys.executable, HERE / name, *arguments], check=True)


if __name__ == "__main__":
    main()
