"""A host that is killed at any moment leaves no process, no socket in the way, and a readable journal."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from real_host import RealHost, eventually, tree

BUSY = tree(
    *({"id": f"crash{i}", "command": ["sh", "-c", "sleep 0.0$0; exit 1", str(i)]} for i in range(4)),
    {"id": "family", "command": ["sh", "-c", "setsid sleep 1000 & sleep 1000 & exec sleep 1000"]},
)


def name_of(pid: int) -> str:
    """What it runs; empty once it is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().rstrip()
    except OSError:
        return ""


def all_are_stopped(pid: int) -> bool:
    """Every thread of a process, each of which stops when it next comes to it."""
    try:
        stats = [(task / "stat").read_text() for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return False  # One ended while we looked.
    return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)


@pytest.mark.parametrize("rounds", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_killed_at_a_random_moment(rounds: int) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with RealHost() as host:
        last_sequence = killed = 0
        while killed < rounds or last_sequence == 0:  # One of them must have lived for long enough to be remembered.
            host.start(BUSY)
            if chance.random() < 0.8:
                host.wait_for("host_started")
            time.sleep(chance.random() * 0.3)
            host.kill()
            killed += 1
            assert eventually(lambda: not host.processes()), host.processes()
            if host.journal.exists():
                with sqlite3.connect(host.journal) as journal:
                    assert journal.execute("PRAGMA integrity_check").fetchone() == ("ok",)
                    if journal.execute("PRAGMA user_version").fetchone() != (0,):
                        (last_sequence,) = journal.execute("SELECT coalesce(max(sequence), 0) FROM events").fetchone()
        host.start(BUSY)
        host.wait_for("supervisor_started", "s")
        first = next(event for event in host.events if event["event"] == "host_started")
        assert first["sequence"] > last_sequence  # It went on counting.
        history = host.ask("GET", "/v1/events?limit=10000")["events"]
        assert sum(event["event"] == "host_started" for event in history) >= 2
        host.send(signal.SIGTERM)
        assert host.wait() == 0
        assert not host.processes()


def test_what_a_host_killed_with_its_guard_left_is_ended_and_told_by_the_next() -> None:
    left_behind = tree({"id": "family", "command": ["sh", "-c", "setsid sleep 1000 & exec sleep 1000"]})
    with RealHost() as host:
        host.start(left_behind)
        host.wait_for("supervisor_started", "s")
        assert eventually(lambda: [name_of(pid) for pid in host.processes()].count("sleep") == 2)  # Both have begun.
        assert host.process is not None
        pid = host.process.pid

        def guards() -> list[int]:
            children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
            return [child for child in children if name_of(child) == "unirun-guard"]

        assert eventually(lambda: len(guards()) == 1)
        (guard,) = guards()
        host.send(signal.SIGSTOP)  # Or it might start another guard before it is killed.
        assert eventually(lambda: all_are_stopped(pid))
        os.kill(guard, signal.SIGKILL)
        host.kill()
        assert host.processes()
        host.start(left_behind)
        host.wait_for("strays_killed")
        assert host.events[0]["event"] == "host_started"
        host.wait_for("supervisor_started", "s")
        host.send(signal.SIGTERM)
        assert host.wait() == 0
        assert not host.processes()


def test_a_second_host_is_refused_and_the_first_goes_on() -> None:
    with RealHost() as first, RealHost() as second:
        first.start(tree({"id": "w", "command": ["sleep", "1000"]}))
        first.wait_for("supervisor_started", "s")
        second.start(
            {"host": {"control_socket": str(first.socket_path)}, **tree({"id": "w", "command": ["sleep", "1000"]})}
        )
        assert second.wait() == 1
        assert first.process is not None
        assert f"pid {first.process.pid}" in second.ended_with()
        assert not second.processes()
        assert first.ask("GET", "/v1/status")["host"]["state"] == "running"
