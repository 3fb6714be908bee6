"""Shared fixtures of the Python tests."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import unirun
from recorder import Make, Recorder
from unirun import Child, Supervisor
from worker_host import PACKAGE, TARGETS, WorkerHost

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


@pytest.fixture
def make_host(tmp_path: Path) -> Iterator[Make]:
    """A function that builds a host that is not started; all are gone after the test.

    ``members`` are the supervisor's, and of the host's ``name``, ``root``, ``control`` and ``journal``.
    """
    hosts: list[unirun.Host] = []

    def make(*children: Child | Supervisor, **members: Any) -> tuple[unirun.Host, Recorder]:
        flags = {"max_restarts": 5, "period": 10, **members}
        host = unirun.Host(
            name=flags.pop("name", f"test-{len(hosts)}"),
            root=flags.pop("root", {}),
            control=flags.pop("control", False),
            journal=flags.pop("journal", False),
            supervisors=[Supervisor("tree", children=children, **flags)],
            state_dir=str(tmp_path / "state"),
            runtime_dir=str(tmp_path / "run"),
            python_path=[str(PACKAGE), str(TARGETS)],
        )
        hosts.append(host)
        recorder = Recorder()
        host.events.subscribe(recorder)
        return host, recorder

    yield make
    for host in hosts:
        host.stop()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop of unirun's that is closed after the test."""
    loop = unirun.new_event_loop()
    yield loop
    loop.close()
