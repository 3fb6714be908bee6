"""The small pieces of work do what they say."""

from __future__ import annotations

import asyncio

import pytest

from unirun.workloads import count_primes, mixed_workload, simulate_async_io, simulate_blocking_io


@pytest.mark.parametrize(("limit", "primes"), [(-1, 0), (0, 0), (2, 0), (3, 1), (10, 4), (100, 25), (10_000, 1229)])
def test_primes_below_a_limit_are_counted(limit: int, primes: int) -> None:
    assert count_primes(limit) == primes


def test_waiting_returns_how_long() -> None:
    assert simulate_blocking_io(0.0) == 0.0
    assert asyncio.run(simulate_async_io(0.0)) == 0.0


def test_a_mixed_workload_computes_after_it_has_waited() -> None:
    assert mixed_workload(100, 0.0) == 25
