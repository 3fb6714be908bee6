"""Programs in fresh interpreters: what `unirun.compat` is, it is from its first import on."""

from __future__ import annotations

import os
import subprocess
import sys
from textwrap import dedent

PATIENCE = 120.0


def environment(**variables: str) -> dict[str, str]:
    """Ours without what says how compat is to be, with ``variables``."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("UNIRUN_COMPAT")}
    return own | variables


def ran(source: str, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run ``source`` to its end, whatever that is. ``options`` are the interpreter's."""
    return subprocess.run(
        [sys.executable, *options, "-c", dedent(source)],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def said(source: str, *options: str, **variables: str) -> list[str]:
    """The lines that ``source`` prints; it ends well and complains of nothing."""
    done = ran(source, *options, **variables)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout.splitlines()
