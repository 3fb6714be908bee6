"""CPython's own `test_concurrent_futures` finds no fault in our classes that it does not find in the standard ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from pool_engines import flavors

from cpython_suite import assert_no_new_fault

pytestmark = pytest.mark.native

SUITE = "test.test_concurrent_futures"
SCRIPT = Path(__file__).with_name("cpython_futures.py")

# At least as many as 3.11 has.
TESTS = {"futures": 20, "threads": 44, "processes": 150, "interpreters": 20}


def part(name: str) -> object:
    """Those of the processes sleep for minutes."""
    return pytest.param(name, marks=[pytest.mark.slow] if name == "processes" else [])


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("name", [part(name) for name in ("futures", *flavors())])
def test_finds_no_fault(name: str) -> None:
    assert_no_new_fault(
        SCRIPT, [name], ours="native", theirs="standard", suite=SUITE, at_least=TESTS[name], timeout=700
    )
