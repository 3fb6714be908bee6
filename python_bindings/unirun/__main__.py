"""``python -m unirun``: the command line of `unirun` inside this interpreter.

The same commands as those of the binary, which starts this when a tree has Python services that
live inside the host: threads and coroutines.
"""

from __future__ import annotations

import faulthandler
import io
import os
import sys

from unirun import _core


def main() -> int:
    """Carry out the command line. Returns the exit code."""
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
    return _core.main(["unirun", *sys.argv[1:]], sys.executable, was_checked)


if __name__ == "__main__":
    sys.exit(main())
