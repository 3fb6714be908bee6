"""What may go wrong around a host: the clock, the disk, files that vanish, clients that misbehave."""

from __future__ import annotations

import json
import random
import resource
import signal
import subprocess
import time
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path

import pytest
from real_host import BINARY, RealHost, eventually, tree

CALM = {"id": "calm", "command": ["sleep", "1000"]}


def libfaketime() -> str | None:
    for folder in Path("/usr/lib").glob("*/faketime"):
        return str(folder / "libfaketime.so.1")
    return None


def test_a_jump_of_the_wall_clock_changes_nothing() -> None:
    library = libfaketime()
    if library is None:
        pytest.skip("libfaketime is not installed (apt-get install faketime)")
    environment = {"LD_PRELOAD": library, "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
    with RealHost(environment=environment) as host:
        clock = host.directory / "clock"
        clock.write_text("+0", encoding="ascii")
        host.environment["FAKETIME_TIMESTAMP_FILE"] = str(clock)
        beat = {
            "id": "beat",
            "command": ["sh", "-c", "sleep 0.2; exit 1"],
            "backoff": {"kind": "fixed", "initial": "200ms"},
        }
        host.start(tree(CALM, beat))
        host.wait_for("supervisor_started", "s")
        for jump in ("+3600", "-7200", "+0"):
            before = host.count("service_exited", "s/beat")
            clock.write_text(jump, encoding="ascii")
            host.wait_for("service_exited", "s/beat", before + 4)  # No later.
        # And no sooner: a life and its pause take 0.4 s.
        ends = [e["monotonic"] for e in host.events if (e["event"], e["path"]) == ("service_exited", "s/beat")]
        assert min(later - sooner for sooner, later in pairwise(ends)) >= 0.4
        seen = [event["time"] for event in host.events]
        assert max(seen)[:13] != min(seen)[:13], "the wall clock did not jump at all"
        assert host.count("service_exited", "s/calm") == 0
        host.send(signal.SIGTERM)
        assert host.wait() == 0


def test_a_full_disk_under_the_journal_is_a_warning() -> None:
    with RealHost() as host:
        host.start(tree(CALM))
        host.wait_for("supervisor_started", "s")
        assert host.process is not None
        resource.prlimit(host.process.pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        host.ask("POST", "/v1/services/s/calm/kill")
        host.wait_for("service_started", "s/calm", times=2)
        host.wait_for("warning")
        assert any("memory" in event.get("what", "") for event in host.events)
        # Supervision goes on, and so does the record of it.
        host.ask("POST", "/v1/services/s/calm/kill")
        host.wait_for("service_started", "s/calm", times=3)
        assert len(host.ask("GET", "/v1/why/s/calm")["deaths"]) == 2
        host.send(signal.SIGTERM)
        assert host.wait() == 0


def test_log_files_that_are_removed_come_back_at_sigusr1() -> None:
    with RealHost() as host:
        log = host.directory / "out.log"
        talk = ["sh", "-c", "while :; do echo tick; sleep 0.05; done"]
        host.start(tree({"id": "talk", "command": talk, "output": {"file": str(log)}}))
        host.wait_for("supervisor_started", "s")
        assert eventually(lambda: log.exists() and "tick" in log.read_text())
        log.unlink()
        host.send(signal.SIGUSR1)
        assert eventually(lambda: log.exists() and "tick" in log.read_text())
        assert host.ask("GET", "/v1/logs/s/talk?tail=3")["lines"][-1]["text"] == "tick"


def test_five_hundred_connections_and_garbage_do_not_hold_up_supervision() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1024:
        pytest.skip(f"only {hard} descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1024), hard))
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with RealHost() as host, ExitStack() as open_clients:
        host.start(tree(CALM))
        host.wait_for("supervisor_started", "s")

        def restart() -> float:
            """How long it takes."""
            asked, lives = time.monotonic(), host.count("service_started", "s/calm")
            host.ask("POST", "/v1/services/s/calm/kill")
            host.wait_for("service_started", "s/calm", times=lives + 1)
            return time.monotonic() - asked

        alone = restart()
        clients = [open_clients.enter_context(host.connect()) for _ in range(500)]
        for client in clients:
            try:
                client.sendall(chance.choice([b"GET /v1/st", chance.randbytes(200), b"", b"POST / HTTP/1.1\r\n"]))
            except BrokenPipeError:
                continue
        assert restart() < 5.0 + 10 * alone
        open_clients.close()
        assert host.ask("GET", "/v1/version")["host"] == "h"


def computing_of(host: RealHost) -> float:
    """Seconds that its process and what has run for it so far were on a processor, which no other load adds to."""
    assert host.process is not None
    tasks = Path(f"/proc/{host.process.pid}/task").glob("*/schedstat")
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9 + ended.ru_utime + ended.ru_stime


@pytest.mark.slow
def test_status_of_a_thousand_children_takes_a_few_starts_of_the_program() -> None:
    """How many milliseconds that are is benchmarks/supervision/status_latency.py's to say."""
    with RealHost() as host:
        host.keep_events = False
        host.start(tree({"id": "w", "instances": 1000, "command": ["sleep", "1000"]}))
        host.wait_for("supervisor_started", "s")

        def call(*words: str) -> tuple[float, bytes]:
            before = computing_of(host)
            done = subprocess.run([BINARY, *words], capture_output=True, check=True)
            return computing_of(host) - before, done.stdout

        starts, times = [], []
        for _ in range(20):
            starts.append(call("version")[0])
            took, text = call("--socket", str(host.socket_path), "status", "--json")
            times.append(took)
            assert len(json.loads(text)["services"]) == 1001
        print(f"{min(times) * 1000:.1f} ms, a start {min(starts) * 1000:.1f} ms")
        assert min(times) < 8 * min(starts)
