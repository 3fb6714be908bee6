"""What every Python test relies on."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """A shell has its background jobs ignore Ctrl-C, and so would every program that a test starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
