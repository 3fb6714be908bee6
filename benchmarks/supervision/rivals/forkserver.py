"""multiprocessing's fork server with the modules preloaded, restarting what dies: as one would write it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from pathlib import Path

HERE = str(Path(__file__).resolve().parent.parent)
sys.path.insert(0, HERE)
os.environ["PYTHONPATH"] = HERE  # Else the server cannot import what it is to preload, and says nothing.


def main() -> None:
    import act_heavy

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["act_heavy"])
    running: dict[int, tuple[str, BaseProcess]] = {}

    def start(index: str) -> None:
        process = context.Process(target=act_heavy.act, args=(index,), daemon=True)
        process.start()
        running[process.sentinel] = index, process

    def end(*_args: object) -> None:
        for _, worker in running.values():
            worker.kill()
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    for number in range(int(sys.argv[1])):
        start(str(number))
    while True:
        for sentinel in wait(list(running)):
            assert isinstance(sentinel, int)
            index, process = running.pop(sentinel)
            start(index)
            process.join()


if __name__ == "__main__":
    main()
