"""What the tests of Run and the scheduler share: a process that has never heard of either."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import unirun

PACKAGE = str(Path(unirun.__file__).parents[1])
PATIENCE = 30.0


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable, no configuration and no shared pool, before and after."""
    for name in [name for name in os.environ if name.startswith("UNIRUN_") and name != "UNIRUN_BINARY"]:
        monkeypatch.delenv(name)
    unirun.configure(unirun.RuntimeConfig())
    unirun.reset()
    yield
    unirun.configure(unirun.RuntimeConfig())
    unirun.reset()


def in_a_new_process(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` in an interpreter of its own, with no variable of ours but ``environment``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNIRUN_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        env={**inherited, "PYTHONPATH": PACKAGE, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )


@contextmanager
def in_thread(call: Callable[[], object]) -> Iterator[threading.Thread]:
    """Another thread that calls ``call``; joined at the end."""
    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield thread
    finally:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """``python -m unirun ARGUMENTS`` with warnings as errors, and no variable of ours but ``environment``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UNIRUN_")}
    return subprocess.run(
        [sys.executable, "-m", "unirun", *arguments],
        env={**inherited, "PYTHONPATH": PACKAGE, "PYTHONWARNINGS": "error", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=2 * PATIENCE,
    )
