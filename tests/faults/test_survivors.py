"""Three endings by five kinds of descendants, as root and as an ordinary user: nobody survives."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest
from real_host import BINARY, NOBODY, RealHost, eventually, tree

KINDS = ["in_the_group", "setsid", "double_fork", "ignores_sigterm", "holds_stdout"]
SCRIPT = Path(__file__).with_name("descendants.py")
USERS = [pytest.param(None, id="this user"), pytest.param(NOBODY, id="an ordinary user")]


def leaving_behind(kind: str, token: str, script: Path) -> dict[str, object]:
    return {
        "id": kind,
        "command": [os.path.realpath(sys.executable), str(script), kind],
        "env": {"FAULT_TOKEN": f"{token}-{kind}"},
        "readiness": {"kind": "log", "pattern": "^up$"},
        "restart": "temporary",
        "shutdown": "1s",
    }


def forked(kind: str, token: str) -> dict[str, object]:
    """The same from a template process, with a standby."""
    service = leaving_behind(kind, token, SCRIPT)
    del service["command"]
    return {**service, "python": f"{SCRIPT}:service", "standby": 1}


@pytest.mark.parametrize("ending", ["stop", "crash", "SIGKILL of the host", "SIGKILL of host and templates"])
def test_nobody_survives_of_workers_from_a_template(ending: str) -> None:
    package = os.environ.get("PYTHONPATH") or str(BINARY.resolve().parents[1] / "python")
    with RealHost(environment={"PYTHONPATH": package}) as host:
        document = tree(*(forked(kind, host.token) for kind in KINDS))
        document["host"] = {"python": sys.executable}
        host.start(document)
        for kind in KINDS:
            host.wait_for("service_started", f"s/{kind}")
            # Itself, what it left behind, its template, and a standby.
            assert eventually(lambda kind=kind: len(host.processes(f"{host.token}-{kind}")) >= 4), kind  # type: ignore[misc]
        assert not host.count("warning")
        if ending == "stop":
            host.send(signal.SIGTERM)
            assert host.wait() == 0
            left = {kind: host.processes(f"{host.token}-{kind}") for kind in KINDS}
            assert not any(left.values()), left  # At once: the host ends last.
        elif ending == "crash":
            for service in host.ask("GET", "/v1/status")["services"]:
                if service["type"] == "worker":
                    os.kill(service["pid"], signal.SIGUSR1)
            for kind in KINDS:
                host.wait_for("service_exited", f"s/{kind}")
            # The template stays for a while, the standby until it is clear that nobody needs it.
            assert eventually(lambda: all(len(host.processes(f"{host.token}-{kind}")) <= 2 for kind in KINDS))
            host.send(signal.SIGTERM)
            assert host.wait() == 0
        elif ending == "SIGKILL of the host":
            host.kill()
        else:
            assert host.process is not None
            for pid in [host.process.pid, *host.processes()]:
                if is_template(pid):
                    os.kill(pid, signal.SIGKILL)
            host.kill()
        left = {kind: host.processes(f"{host.token}-{kind}") for kind in KINDS}
        assert eventually(lambda: not any(host.processes(f"{host.token}-{kind}") for kind in KINDS)), left


def is_template(pid: int) -> bool:
    """By the mark of a run that is none: workers have written theirs over it."""
    try:
        return b"UNIRUN_RUN=template" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("ending", ["stop", "crash", "SIGKILL of the host"])
def test_nobody_survives(ending: str, user: int | None) -> None:
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become another user")
    with RealHost(user=user) as host:
        script = host.public(SCRIPT)
        host.start(tree(*(leaving_behind(kind, host.token, script) for kind in KINDS)))
        for kind in KINDS:
            host.wait_for("service_started", f"s/{kind}")
            assert len(host.processes(f"{host.token}-{kind}")) >= 2, kind
        if ending == "stop":
            host.send(signal.SIGTERM)
            assert host.wait() == 0
            gone = not any(host.processes(f"{host.token}-{kind}") for kind in KINDS)
            assert gone  # At once: the host ends last.
        elif ending == "crash":
            for service in host.ask("GET", "/v1/status")["services"]:
                if service["type"] == "worker":
                    os.kill(service["pid"], signal.SIGUSR1)
            for kind in KINDS:
                host.wait_for("service_exited", f"s/{kind}")
        else:
            host.kill()
        left = {kind: host.processes(f"{host.token}-{kind}") for kind in KINDS}
        assert eventually(lambda: not any(host.processes(f"{host.token}-{kind}") for kind in KINDS)), left


@pytest.mark.parametrize("ending", ["stop", "SIGKILL of the host"])
@pytest.mark.parametrize(("executor", "target"), [("thread", "inside"), ("async", "on_loop")])
def test_what_services_inside_the_host_start_ends_with_the_host(executor: str, target: str, ending: str) -> None:
    package = os.environ.get("PYTHONPATH") or str(BINARY.resolve().parents[1] / "python")
    with RealHost(environment={"PYTHONPATH": package}) as host:
        services = [
            {
                "id": kind,
                "python": f"{SCRIPT}:{target}",
                "executor": executor,
                "config": {"token": f"{host.token}-{kind}"},
                "readiness": {"kind": "notify"},
            }
            for kind in KINDS
        ]
        host.start({**tree(*services), "host": {"python": sys.executable}})
        for kind in KINDS:
            host.wait_for("service_started", f"s/{kind}")
            assert eventually(lambda kind=kind: len(host.processes(f"{host.token}-{kind}")) >= 2), kind  # type: ignore[misc]
        if ending == "stop":
            host.send(signal.SIGTERM)
            assert host.wait() == 0
            assert not any(host.processes(f"{host.token}-{kind}") for kind in KINDS)  # At once: the host ends last.
        else:
            host.kill()
        assert eventually(lambda: not any(host.processes(f"{host.token}-{kind}") for kind in KINDS))
