"""CPython's own `test_asyncio` finds no fault in our loop that it does not find in the default one."""

from __future__ import annotations

import pytest

from comparison import assert_no_fault
from suites import interpreter, modules_of

pytestmark = pytest.mark.native

SUITE = "test_asyncio"
# What stands closest to a loop's engine, in a few seconds; the whole suite takes minutes.
SHORT = ("context", "runners", "taskgroups", "timeouts", "locks", "streams", "server")


@pytest.mark.timeout(600)
def test_the_short_selection_finds_no_fault() -> None:
    here = interpreter()
    short = [module for module in modules_of(here, SUITE) if module.endswith(SHORT)]
    assert len(short) == len(SHORT)
    assert len(assert_no_fault(here, "loop", short).outcomes) > 200


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_whole_suite_finds_no_fault() -> None:
    here = interpreter()
    assert len(assert_no_fault(here, "loop", modules_of(here, SUITE)).outcomes) > 1000
