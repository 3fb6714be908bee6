"""Runs a command on a machine whose CPUs somebody else takes away, in bursts, as on a shared one.

``busy_neighbour.py PERCENT COMMAND...``: on each CPU a thread that comes before all others computes for so much of the
time, mostly for some milliseconds at once and now and then for half a second. A test that presumes how soon something
happens fails here; one that waits for it does not. Needs the right to real-time scheduling, which root has. Exits as
the command does.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from multiprocessing import Process

# The mean of a burst in seconds, and how often it is that one.
BURSTS = {0.005: 70, 0.05: 25, 0.4: 5}
LONGEST = 1.0


def take(cpu: int, share: float) -> None:
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    while os.getppid() != 1:
        (mean,) = random.choices(list(BURSTS), list(BURSTS.values()))
        burst = min(random.expovariate(1 / mean), LONGEST)
        end = time.monotonic() + burst
        while time.monotonic() < end:
            pass
        time.sleep(burst * (1 - share) / share)


def main() -> int:
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    share, command = float(sys.argv[1]) / 100, sys.argv[2:]
    if not 0 < share < 0.95:  # The kernel leaves ordinary threads 5 %.
        raise SystemExit(f"busy_neighbour: {sys.argv[1]} is no share: more than 0 and less than 95 percent")
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    except PermissionError:
        raise SystemExit("busy_neighbour: may not come before others: run it as root, or with CAP_SYS_NICE") from None
    for cpu in os.sched_getaffinity(0):
        Process(target=take, args=(cpu, share), daemon=True).start()
    return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main())
