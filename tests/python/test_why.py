"""Forensics: real deaths, and what `why` tells of each."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import unirun
from cli import BINARY, Cli, tree, wait_for_event
from recorder import Make, Recorder
from unirun import Child, events
from worker_host import PATIENCE

pytestmark = pytest.mark.native


@pytest.fixture
def dying(tmp_path: Path) -> Callable[..., Child]:
    def make(how: str, mebibytes: int = 0, **members: Any) -> Child:
        config = {"how": how, "file": str(tmp_path / how), "mebibytes": mebibytes}
        return Child("dying", target="observers:Dying", config=config, readiness={"kind": "notify"}, **members)

    return make


RECORDED = {"name": "mourner", "control": True, "journal": True}


def death_of(host: unirun.Host, recorder: Recorder, path: str = "tree/dying") -> dict[str, Any]:
    """Of the first life. Whoever dies of silence may do so again, on a machine that keeps it from its beats."""
    recorder.wait_for(events.ServiceStarted, path, 2)
    *others, death = host.why(path)["deaths"]
    assert all(other["reason"]["kind"] == "liveness_timeout" for other in others)
    return dict(death)


def told_by_cli(host: unirun.Host, *arguments: str) -> str:
    done = subprocess.run(
        [BINARY, "why", "--socket", host.socket_path, *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return done.stdout


def test_an_exception_is_told_from_its_traceback_to_what_was_done(make_host: Make, dying: Callable[..., Child]) -> None:
    host, recorder = make_host(dying("raises", backoff={"kind": "fixed", "initial": 0.05, "jitter": 0}), **RECORDED)
    with host:
        death = death_of(host, recorder)
        reason = death["reason"]
        assert reason["kind"] == "exception"
        assert (reason["exception"]["type"], reason["exception"]["message"]) == ("ValueError", "no such job")
        assert "in raises" in reason["exception"]["traceback"]
        assert death["summary"] == "ValueError: no such job"
        assert death["last_lines"] == ["last words"]
        assert death["rule"].startswith("permanent: restarted after every exit")
        assert death["decision"] == "restarted"
        assert death["delay"] == pytest.approx(0.05)
        assert death["seen"]["count"] == 1
        assert death["pid"] > 0 and death["was_ready"] and death["uptime"] > 0
        client = unirun.connect(host.socket_path)
        assert client.why("tree/dying") == host.why("tree/dying") == client.service("tree/dying").why()
        text = told_by_cli(host, "tree/dying")
        assert "tree/dying ended: ValueError: no such job" in text
        assert "This cause is new: exception code=1 exception=ValueError at=File" in text
        assert "So it was restarted, after 50" in text
        assert json.loads(told_by_cli(host, "tree/dying", "--json"))["deaths"] == [death]


@pytest.mark.parametrize(
    ("how", "kind", "summary"),
    [
        ("segfaults", "signal", "SIGSEGV"),
        ("exits", "exit_code", "exit code 7"),
        ("kills_itself", "signal", "SIGKILL"),
        ("hangs", "liveness_timeout", "no heartbeat for 500ms"),
    ],
)
def test_every_death_leaves_its_reason_and_last_words(
    make_host: Make, dying: Callable[..., Child], how: str, kind: str, summary: str
) -> None:
    liveness = {"kind": "heartbeat", "timeout": 0.5} if how == "hangs" else None
    host, recorder = make_host(dying(how, liveness=liveness, rlimits={"core": 0}), max_restarts=99, **RECORDED)
    with host:
        death = death_of(host, recorder)
        assert death["reason"]["kind"] == kind
        assert summary in death["summary"]
        assert death["last_lines"][0] == "last words"
        assert death["decision"] == "restarted"
        if how in ("segfaults", "hangs"):  # Where it was, and so what it died of.
            assert f"in {how}" in death["reason"]["stacks"]
            assert f"in {how}" in death["fingerprint"]
            assert f"in {how}" in told_by_cli(host, "tree/dying")


@pytest.mark.parametrize("how", ["raises", "kills_itself"])
def test_peak_memory_is_told(make_host: Make, dying: Callable[..., Child], how: str) -> None:
    host, recorder = make_host(dying(how, mebibytes=400), **RECORDED)
    with host:
        peak = death_of(host, recorder)["reason"]["peak_rss"]
        assert 400 << 20 <= peak < 600 << 20
        assert f"It used {peak / (1 << 20):.1f} MiB of memory at most." in told_by_cli(host, "tree/dying")


def test_the_peak_of_a_small_worker_is_its_own_and_not_the_hosts(make_host: Make, dying: Callable[..., Child]) -> None:
    ballast = bytearray(b"x" * (300 << 20))  # The host is in this process.
    host, recorder = make_host(dying("raises", mebibytes=20), **RECORDED)
    with host:
        peak = death_of(host, recorder)["reason"]["peak_rss"]
        assert 20 << 20 <= peak < 200 << 20
    assert len(ballast) == 300 << 20


def test_a_cause_is_counted_over_restarts_of_the_host(
    make_host: Make, dying: Callable[..., Child], tmp_path: Path
) -> None:
    for life in (1, 2):
        (tmp_path / "raises").unlink(missing_ok=True)
        host, recorder = make_host(dying("raises"), **RECORDED)
        with host:
            recorder.wait_for(events.ServiceStarted, "tree/dying", 2)
            why = host.why("tree/dying")
            assert len(why["deaths"]) == life
            assert [death["seen"]["count"] for death in why["deaths"]] == [life] * life
            (cause,) = why["causes"]
            assert cause["count"] == life
            if life == 2:
                assert "This cause has been seen 2 times since" in told_by_cli(host, "tree/dying")


def test_who_went_along_is_told(make_host: Make, tmp_path: Path) -> None:
    die = tmp_path / "die"
    first = Child("first", target="observers:Metered", config={"die": str(die)}, readiness={"kind": "notify"})
    later = Child("later", target="jobs:Steady", readiness={"kind": "notify"})
    host, recorder = make_host(first, later, strategy="rest_for_one", **RECORDED)
    with host:
        die.touch()
        recorder.wait_for(events.ServiceStarted, "tree/later", 2)
        (death,) = host.why("tree/first")["deaths"]
        assert death["also_stopped"] == ["tree/later"]
        assert "rest_for_one" in death["rule"]
        assert "With it went tree/later." in told_by_cli(host, "tree/first")


@pytest.mark.parametrize("kind", ["http", "tcp", "exec"])
def test_a_worker_that_a_probe_finds_dead_leaves_its_stacks(
    make_host: Make, dying: Callable[..., Child], kind: str
) -> None:
    probe: dict[str, Any] = {"command": ["false"]} if kind == "exec" else {"port": 1}  # Nobody listens there.
    liveness = {"kind": kind, **probe, "interval": 0.2, "timeout": 5, "max_failures": 2}
    host, recorder = make_host(dying("hangs", liveness=liveness, rlimits={"core": 0}), max_restarts=99, **RECORDED)
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/dying", 2)
        assert recorder.wait_for(events.ServiceUnresponsive, "tree/dying").probe == kind
        death = host.why("tree/dying")["deaths"][-1]
        assert death["reason"]["kind"] == "liveness_timeout"
        assert death["reason"]["signal"] == 6
        assert "in hangs" in death["reason"]["stacks"]
        assert kind in death["summary"]


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """The ``cgroup.procs`` of a memory cgroup of 96 MiB; needs the right to make one."""
    for base, limit in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
        (Path("/sys/fs/cgroup"), "memory.max"),
    ):
        group = base / f"unirun-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / limit).write_text(str(96 << 20))
        except OSError:
            group.rmdir()
            continue
        yield group / "cgroup.procs"
        group.rmdir()
        return
    pytest.skip("no memory cgroup can be made here; as root, with cgroups of version 1 or 2, it can")


def test_a_worker_that_the_kernel_kills_for_memory_says_so(tmp_path: Path, small_memory: Path) -> None:
    cli = Cli(tmp_path)
    hog = ["python3", "-c", "print('so much', flush=True); x = bytearray(b'x' * (400 << 20))"]
    document = tree({"id": "hog", "command": hog, "backoff": {"kind": "fixed", "initial": "1h", "max": "1h"}})
    with cli.up(document, prefix=["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(small_memory)]) as host:
        assert wait_for_event(host, "service_exited", "s/hog")["reason"]["kind"] == "memory_limit"
        (death,) = cli.json("why", "s/hog")["deaths"]
        assert death["reason"]["signal"] == 9
        # No peak is asked for: this host began with the peak of the tests' own process.
        assert death["last_lines"] == ["so much"]
        assert "memory limit" in cli.run("why", "s/hog").stdout
