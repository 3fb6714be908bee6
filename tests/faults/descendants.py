"""A service that leaves a descendant of one kind behind: run as ``descendants.py KIND``.

Says "up" once it is there. Ends by itself, with 3, on SIGUSR1.
"""

import asyncio
import os
import signal
import subprocess
import sys
import time
from typing import Any


def stay() -> None:
    while True:
        time.sleep(1000)


def service(context: Any) -> None:
    """The same as a Python service: of the kind that is its id."""
    leave(context.id)


def marked(context: Any) -> dict[str, str]:
    return {**os.environ, "FAULT_TOKEN": context.config["token"]}


def inside(context: Any) -> None:
    """A service inside the host, which leaves one of its kind behind and lives on."""
    subprocess.Popen([sys.executable, __file__, context.id], env=marked(context), stdout=subprocess.DEVNULL)
    context.ready()
    context.cancellation.wait()


async def on_loop(context: Any) -> None:
    """The same on the loop of the host."""
    command = (sys.executable, __file__, context.id)
    await asyncio.create_subprocess_exec(*command, env=marked(context), stdout=subprocess.DEVNULL)
    context.ready()
    await asyncio.Event().wait()


def leave(kind: str) -> None:
    told, tell = os.pipe()
    if os.fork() == 0:
        if kind in {"setsid", "double_fork"}:
            os.setsid()
        if kind == "double_fork" and os.fork() != 0:
            os._exit(0)
        if kind == "ignores_sigterm":
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                signal.signal(number, signal.SIG_IGN)
        if kind != "holds_stdout":
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
        os.write(tell, b"x")
        stay()
    os.read(told, 1)
    signal.signal(signal.SIGUSR1, lambda *_: os._exit(3))
    print("up", flush=True)
    stay()


if __name__ == "__main__":
    leave(sys.argv[1])
