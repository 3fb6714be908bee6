"""Services that die as soon as they live."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from real_host import RealHost, eventually, tree

# An abstract name begins with "@".
NOTIFY = (
    "import os,socket,time;name=os.environ['NOTIFY_SOCKET'].replace('@',chr(0));"
    "socket.socket(1,2).sendto(b'READY=1',name);time.sleep(1000)"
)
READY = {"fd": "echo >&3; exec sleep 1000", "notify": f'exec python3 -c "{NOTIFY}"'}


@pytest.mark.parametrize("deaths", [500, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("readiness", [{"kind": "notify"}, {"kind": "fd", "fd": 3}], ids=["notify", "fd"])
@pytest.mark.timeout(1500)
def test_what_dies_at_once_was_never_running(readiness: dict[str, Any], deaths: int) -> None:
    with RealHost() as host:
        host.keep_events = False
        # A first start that fails would end the tree (item 8): each is let live once.
        once = f"[ -e $0 ] && exit 1; : > $0; {READY[readiness['kind']]}"
        children = [
            {"id": f"w{i}", "command": ["sh", "-c", once, f"{host.directory}/w{i}"], "readiness": readiness}
            for i in range(4)
        ]
        host.start(tree(*children))
        host.wait_for("supervisor_started", "s")
        ready_once = host.count("service_started", None) - host.count("service_started", "s")
        assert ready_once == len(children)
        for child in children:
            host.ask("POST", f"/v1/services/s/{child['id']}/kill")
        assert eventually(lambda: host.count("service_exited") >= deaths, 1200.0), host.count("service_exited")
        assert sum(host.count("service_started", f"s/w{i}") for i in range(4)) == len(children)


def test_a_program_that_is_not_there_was_never_running() -> None:
    with RealHost() as host:
        program = host.directory / "program"
        program.write_text("#!/bin/sh\nexec sleep 1000\n", encoding="ascii")
        program.chmod(0o755)
        backoff = {"kind": "fixed", "initial": "10ms"}
        host.start(tree({"id": "w", "command": [str(program)], "backoff": backoff}))
        host.wait_for("supervisor_started", "s")
        program.unlink()
        host.ask("POST", "/v1/services/s/w/kill")
        host.wait_for("service_backing_off", "s/w", times=5)
        assert host.count("service_started", "s/w") == 1
        why = host.ask("GET", "/v1/why/s/w?limit=1")["deaths"][0]
        assert why["reason"]["kind"] == "start_failed"
        assert "No such file" in why["summary"] or "no such file" in why["summary"]


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_what_a_storm_took_is_given_back_and_the_host_sleeps_again() -> None:
    with RealHost() as host:
        host.keep_events = False
        program = host.directory / "program"

        def let_it_be(name: str) -> None:
            draft = host.directory / "draft"
            draft.symlink_to(shutil.which(name) or "")
            draft.rename(program)

        def storm(deaths: int) -> int:
            """Deaths in a row, and the host's memory when all is over and nothing wakes it any more."""
            wanted = host.count("service_exited") + deaths
            let_it_be("false")
            for i in range(1, 11):
                host.ask("POST", f"/v1/services/s/w-{i}/kill")
            assert eventually(lambda: host.count("service_exited") >= wanted, 1200.0)
            let_it_be("sleep")
            assert eventually(lambda: sleeps(host), 60.0)
            return host.pss_kib()

        let_it_be("sleep")
        host.start(tree({"id": "w", "instances": 10, "command": [str(program), "1000"]}))
        host.wait_for("supervisor_started", "s")
        before = storm(2_000)
        growth = storm(20_000) - before
        print(f"growth {growth} KiB")
        assert growth < 1024


def sleeps(host: RealHost) -> bool:
    """No thread of the host is woken for longer than it waits before it gives memory back."""
    assert host.process is not None
    tasks = Path(f"/proc/{host.process.pid}/task")

    def switches() -> int:
        lines = "".join((task / "status").read_text(encoding="utf-8") for task in tasks.iterdir()).splitlines()
        return sum(int(line.split()[1]) for line in lines if "ctxt_switches" in line)

    try:
        before = switches()
        time.sleep(1.5)
        return switches() == before
    except (FileNotFoundError, ProcessLookupError):
        return False  # A thread ended while we looked.


def deaths_per_second() -> float:
    """The floor: what this machine, as busy as it is, can start and bury one after the other."""
    program, began, deaths = shutil.which("false") or "", time.monotonic(), 0
    while time.monotonic() - began < 1.0:
        os.waitpid(os.posix_spawn(program, [program], {}), 0)
        deaths += 1
    return deaths / (time.monotonic() - began)


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_thousand_restarts_a_second_leave_the_host_responsive_and_its_memory_flat() -> None:
    with RealHost() as host:
        host.keep_events = False
        backoff = {"kind": "fixed", "initial": "20ms"}
        child = {"id": "w", "instances": 40, "command": ["false"], "backoff": backoff}
        host.start(tree(child, {"id": "calm", "command": ["sleep", "1000"]}))
        host.wait_for("supervisor_started", "s")
        assert eventually(lambda: host.count("service_exited") >= 2_000)  # Past the growth of its caches.
        floor = deaths_per_second()
        before, exits_before, began = host.pss_kib(), host.count("service_exited"), time.monotonic()
        slowest = kept_from_it = 0.0
        while time.monotonic() - began < 10.0 or host.count("service_exited") - exits_before < 10_000:
            asked = time.monotonic()
            assert host.ask("GET", "/v1/services/s/calm")["state"] == "running"
            answered = time.monotonic()
            time.sleep(0.05)
            slowest = max(slowest, answered - asked)
            kept_from_it = max(kept_from_it, time.monotonic() - answered - 0.05)
        rate = (host.count("service_exited") - exits_before) / (time.monotonic() - began)
        growth = host.pss_kib() - before
        floor = min(floor, deaths_per_second())
        print(f"{rate:.0f} restarts/s beside {floor:.0f} of a floor")
        print(f"slowest answer {slowest * 1000:.0f} ms, growth {growth} KiB")
        # A busy machine takes its time for a single step of ours as well, and for the start of a program.
        assert slowest < 1.0 + 4 * kept_from_it + 20 / floor
        assert growth < 2048
        # The floor was measured beside the storm, and nobody there decides, tells and writes down as a host does.
        assert rate > min(1000.0, floor / 2)
        host.send(signal.SIGTERM)
        assert host.wait() == 0
