"""What tasks do; a module of its own, so that workers of every kind can import it."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

PATIENCE = 30.0  # Seconds for what takes milliseconds on a quiet machine.
MIB = 1 << 20


class Refusing(Exception):
    """Can be pickled, and not unpickled."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


def same(value: Any) -> Any:
    return value


def kind_of(value: Any) -> str:
    return type(value).__name__


def raise_named(name: str, text: str) -> None:
    raise {"ValueError": ValueError, "SystemExit": SystemExit, "KeyboardInterrupt": KeyboardInterrupt}[name](text)


def raise_what_cannot_be_pickled() -> None:
    raise ValueError(threading.Lock())


def raise_what_cannot_be_unpickled() -> None:
    raise Refusing("no", "I won't")


def return_what_cannot_be_pickled() -> Any:
    return threading.Lock()


def return_mebibytes(count: int) -> bytes:
    return b"x" * (count * MIB)


def tell(path: str, text: str) -> None:
    """Add a line to a file, whole even where others write."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(descriptor, f"{text}\n".encode())
    finally:
        os.close(descriptor)


def await_file(path: str) -> str:
    """Wait until the file holds a line; what stands there."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except FileNotFoundError:
            text = ""
        if text.endswith("\n"):
            return text.strip()
        time.sleep(0.002)
    raise TimeoutError(f"nobody wrote {path} within {PATIENCE:g} s")


def tell_pid_and_wait(path: str, go: str) -> str:
    """Say who runs this, then stay until ``go`` is written."""
    tell(path, str(os.getpid()))
    await_file(go)
    return "went on"


def tell_and_exit(path: str) -> None:
    """Leave without a word, as a crash in native code does."""
    tell(path, str(os.getpid()))
    os._exit(7)


def interrupt_after(pid: int, go: str, done: str) -> str:
    """Send SIGINT when ``go`` is written, and stay until ``done`` is."""
    import signal

    await_file(go)
    os.kill(pid, signal.SIGINT)
    await_file(done)
    return "went on"


def in_a_pool_of_its_own(engine: str, flavor: str, value: int) -> int:
    from pool_engines import executor_class

    with executor_class(engine, flavor)(1) as pool:  # type: ignore[call-arg]
        return int(pool.submit(same, value).result(PATIENCE)) + 1


def fail_to_initialize() -> None:
    raise ValueError("no room in here")
