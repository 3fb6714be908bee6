"""The bare floor of a fork from a warm Python: imports, fork, wait, fork again. No host, no set-up, no supervision."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
import act_heavy

children: dict[int, str] = {}


def end(*_: object) -> None:
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    os._exit(0)


def start(index: str) -> None:
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        act_heavy.act(index)
    children[pid] = index


signal.signal(signal.SIGTERM, end)
gc.freeze()
for number in range(int(sys.argv[1])):
    start(str(number))
while True:
    pid, _ = os.wait()
    start(children.pop(pid))
