"""The commands of `unirun` against a host that runs."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from cli import BINARY, PATIENCE, Cli, tree, worker

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built; say: make build")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def service(cli: Cli, path: str) -> dict[str, object]:
    for entry in cli.json("status")["services"]:
        if entry["path"] == path:
            return dict(entry)
    raise AssertionError(f"no {path} in status")


def test_up_for_a_while(cli: Cli) -> None:
    done = cli.run("up", cli.write(tree(worker())), "--for", "1s")
    assert done.returncode == 0, done.stderr
    assert "s/w" in done.stdout
    assert "ready after" in done.stdout
    assert "SERVICE" in done.stdout.splitlines()[-2] or "SERVICE" in done.stdout
    assert "\x1b[" not in done.stdout  # No terminal, no colours.


def test_up_that_ends_before_all_has_started_says_so_and_finds_no_fault(cli: Cli) -> None:
    done = cli.run("up", cli.write(tree(worker(readiness={"kind": "notify"}))), "--for", "100ms")
    assert done.returncode == 0, done.stderr
    assert "stopped before every service had started: shutdown: --for 100ms is over" in done.stderr


def test_up_as_json_is_one_event_a_line_and_a_summary(cli: Cli) -> None:
    done = cli.run("up", cli.write(tree(worker())), "--for", "1s", "--json")
    assert done.returncode == 0, done.stderr
    *events, summary = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "host_started"
    assert kinds[-1] == "host_stopped"
    assert [event["sequence"] for event in events] == sorted(event["sequence"] for event in events)
    assert {entry["path"]: entry["starts"] for entry in summary["summary"]["services"]}["s/w"] == 1


def test_questions_and_commands(cli: Cli) -> None:
    with cli.up(tree(worker("a"), {"id": "echo", "command": ["sh", "-c", "echo one; echo two >&2; sleep 1000"]})):
        status = cli.run("status")
        assert status.returncode == 0, status.stderr
        assert "s/a" in status.stdout and "running" in status.stdout
        drawing = cli.run("tree").stdout
        assert "└─ echo" in drawing

        first = service(cli, "s/a")["pid"]
        assert cli.run("stop", "s/a").returncode == 0
        assert service(cli, "s/a")["state"] == "stopped"
        assert cli.run("start", "s/a").returncode == 0
        second = service(cli, "s/a")["pid"]
        assert second not in (None, first)
        assert cli.run("restart", "s/a").returncode == 0
        assert service(cli, "s/a")["pid"] not in (None, first, second)

        deadline = time.monotonic() + PATIENCE
        while "two" not in cli.run("logs", "s/echo").stdout:
            assert time.monotonic() < deadline
        lines = [json.loads(line) for line in cli.run("logs", "s/echo", "--json").stdout.splitlines()]
        assert {(line["stream"], line["text"]) for line in lines} == {("stdout", "one"), ("stderr", "two")}

        events = cli.run("events", "--path", "s/a", "-n", "50")
        assert events.returncode == 0, events.stderr
        assert "ready after" in events.stdout


def test_kill_is_a_death_like_any_other_and_why_tells_it(cli: Cli) -> None:
    with cli.up(tree({"id": "w", "command": ["sh", "-c", "echo last words; sleep 1000"]})):
        deadline = time.monotonic() + PATIENCE
        while "last words" not in cli.run("logs", "s/w").stdout:
            assert time.monotonic() < deadline
        os.kill(int(str(service(cli, "s/w")["pid"])), 9)
        deadline = time.monotonic() + PATIENCE
        while service(cli, "s/w")["restarts"] != 1 or service(cli, "s/w")["state"] != "running":
            assert time.monotonic() < deadline
        why = cli.run("why", "s/w")
        assert why.returncode == 0, why.stderr
        assert "SIGKILL" in why.stdout
        assert "last words" in why.stdout


def test_scale(cli: Cli) -> None:
    with cli.up(tree(worker("w", instances=2))):
        paths = {entry["path"] for entry in cli.json("status")["services"]}
        assert {"s/w-1", "s/w-2"} <= paths
        assert cli.run("scale", "s/w", "4").returncode == 0
        paths = {entry["path"] for entry in cli.json("status")["services"]}
        assert {"s/w-1", "s/w-2", "s/w-3", "s/w-4"} <= paths


def test_events_are_followed_until_the_host_ends(cli: Cli) -> None:
    with (
        cli.up(tree(worker())),
        subprocess.Popen(
            [str(BINARY), "events", "-f", "--json"], env=cli.environment, stdout=subprocess.PIPE, text=True
        ) as following,
    ):
        assert following.stdout is not None
        following.stdout.readline()
        assert cli.run("shutdown").returncode == 0
        kinds = [json.loads(line)["event"] for line in following.stdout]
        assert following.wait(timeout=PATIENCE) == 0
    assert "service_exited" in kinds


def test_shutdown_ends_the_host_with_0(cli: Cli) -> None:
    with cli.up(tree(worker())) as host:
        assert cli.run("shutdown").returncode == 0
        host.communicate(timeout=PATIENCE)
        assert host.returncode == 0
