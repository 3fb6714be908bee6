"""Shared fixtures of the Python tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import pytest

from worker_host import WorkerHost

# More interpreters for the worker runtime: a colon-separated list of paths.
OTHER_INTERPRETERS = [path for path in os.environ.get("UNIRUN_TEST_PYTHONS", "").split(":") if path]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if find_spec("unirun._core") is not None:
        return
    for item in items:
        if "native" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="unirun._core is not built; say: make build"))


@pytest.fixture(params=[sys.executable, *OTHER_INTERPRETERS])
def start_worker(request: pytest.FixtureRequest) -> Iterator[Callable[..., WorkerHost]]:
    """A function that starts a worker; whatever it started is gone after the test."""
    with ExitStack() as stack:

        def start(target: str, **frame: Any) -> WorkerHost:
            return stack.enter_context(WorkerHost(target, interpreter=request.param, **frame))

        yield start
