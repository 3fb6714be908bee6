"""CPython's own `test_asyncio` finds no fault in our loop that it does not find in the default one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cpython_suite import assert_no_new_fault, location_of

pytestmark = pytest.mark.native

SUITE = "test.test_asyncio"
SCRIPT = Path(__file__).with_name("cpython_asyncio.py")

# Tests that may differ, each with its reason.
EXCEPTIONS: dict[str, str] = {}

# What stands closest to a loop's engine, in a few seconds; the whole suite takes minutes.
SHORT = [
    "test_context",
    "test_runners",
    "test_taskgroups",
    "test_timeouts",
    "test_locks",
    "test_streams",
    "test_server",
]


def whole_suite() -> list[str]:
    """Every module of the suite but those for Windows."""
    return sorted(p.stem for p in location_of(SUITE).glob("test_*.py") if "windows" not in p.stem)


def compare(modules: list[str], timeout: float) -> None:
    assert_no_new_fault(
        SCRIPT,
        modules,
        ours="unirun",
        theirs="default",
        suite=SUITE,
        at_least=20 * len(modules) ** 0.5,
        exceptions=EXCEPTIONS,
        timeout=timeout,
    )


def test_the_short_selection_finds_no_fault() -> None:
    assert set(SHORT) < set(whole_suite())
    compare(SHORT, timeout=50)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_suite_finds_no_fault() -> None:
    compare(whole_suite(), timeout=700)
