"""``python -m unirun``: the command line of `unirun` inside this interpreter.

The same commands as those of the binary, which starts this when a tree has Python services that
live inside the host: threads and coroutines. Two more are about this interpreter: ``doctor`` and ``bench``.
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys
from importlib import import_module

OF_PYTHON = {
    "doctor": "Tells what this interpreter and machine can do, and how fast",
    "bench": "Measures every engine, native beside standard",
}
PATIENCE = 1.0  # Seconds: for the tasks of services that have ended.


def main() -> int:
    """Carry out the command line. Returns the exit code."""
    if sys.argv[1:2] and (command := sys.argv[1]) in OF_PYTHON:
        return int(import_module(f"unirun.{command}").main(sys.argv[2:]))
    from unirun import _core

    was_checked = os.environ.pop("UNIRUN_DOOR", None) is not None
    if was_checked:  # The binary has put host.python_path in front; services get what it was.
        outer = os.environ.pop("UNIRUN_DOOR_PYTHONPATH", None)
        if outer is None:
            os.environ.pop("PYTHONPATH", None)
        else:
            os.environ["PYTHONPATH"] = outer
    faulthandler.enable()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # What a service prints is seen at once.
    code = _core.main(["unirun", *sys.argv[1:]], sys.executable, was_checked)
    if sys.argv[1:] in (["--help"], ["-h"]):
        print("\nOf python -m unirun alone:")
        for name, about in OF_PYTHON.items():
            print(f"  {name:<28}{about}")
    leave_threads_behind(code)
    return code


def leave_threads_behind(code: int) -> None:
    """Leave by `os._exit` if a task of a service that has ended still keeps a thread: nobody waits for it."""
    pools = sys.modules.get("unirun._service_pools")
    if pools is not None and pools.are_threads_left(PATIENCE):
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
