"""No worker process of a pool outlives its service, or the host, however that ends; a new life has new ones."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from real_host import BINARY, RealHost, eventually, tree

SCRIPT = Path(__file__).with_name("pools.py")
ALL = ["process", "thread", "async", "async_process"]


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def pooled(host: RealHost) -> dict[str, Any]:
    """What status tells of the service."""
    rows: list[dict[str, Any]] = host.ask("GET", "/v1/status")["services"]
    return next(row for row in rows if row["path"] == "s/pooled")


def workers(host: RealHost, but: list[int]) -> list[int]:
    """The worker processes of its present life."""

    def now() -> list[int]:
        return [int(pid) for pid in pooled(host).get("status", "").split()]

    assert eventually(lambda: len(now()) == 2 and now() != but)
    return now()


@pytest.mark.parametrize("executor", ALL)
@pytest.mark.parametrize("ending", ["stop", "crash", "SIGKILL of the service", "SIGKILL of the host"])
def test_no_worker_process_of_a_pool_survives(executor: str, ending: str) -> None:
    if ending == "SIGKILL of the service" and executor in ("thread", "async"):
        ending = "kill"  # There is no process that is the service's alone.
    package = os.environ.get("PYTHONPATH") or str(BINARY.resolve().parents[1] / "python")
    with RealHost(environment={"PYTHONPATH": package}) as host:
        die = host.directory / "die"
        service = {
            "id": "pooled",
            "python": f"{SCRIPT}:Pooled",
            "executor": executor,
            "readiness": {"kind": "notify"},
            "config": {"die": str(die)},
        }
        host.start({**tree(service), "host": {"python": sys.executable}})
        host.wait_for("service_started", "s/pooled")
        first = workers(host, but=[])
        assert all(is_there(pid) for pid in first)
        if ending == "SIGKILL of the host":
            host.kill()
            assert eventually(lambda: not host.processes())
            return
        if ending != "stop":
            if ending == "crash":
                die.touch()
            elif ending == "kill":
                host.ask("POST", "/v1/services/s/pooled/kill")
            else:
                os.kill(pooled(host)["pid"], signal.SIGKILL)
            host.wait_for("service_started", "s/pooled", times=2)
            assert not set(workers(host, but=first)) & set(first)
            assert eventually(lambda: not any(is_there(pid) for pid in first))
            assert eventually(lambda: pooled(host).get("tasks", {}).get("running") == 1)
        host.send(signal.SIGTERM)
        assert host.wait() == 0
        assert eventually(lambda: not host.processes())


@pytest.mark.parametrize("executor", ["thread", "async"])
def test_a_task_that_does_not_end_keeps_no_host_from_ending(executor: str) -> None:
    package = os.environ.get("PYTHONPATH") or str(BINARY.resolve().parents[1] / "python")
    with RealHost(environment={"PYTHONPATH": package}) as host:
        service = {
            "id": "lingering",
            "python": f"{SCRIPT}:Lingering",
            "executor": executor,
            "readiness": {"kind": "notify"},
        }
        host.start({**tree(service), "host": {"python": sys.executable}})
        host.wait_for("service_started", "s/lingering")
        host.send(signal.SIGTERM)
        assert host.wait() == 0
        assert host.count("service_exited", "s/lingering") == 1
