"""`unirun up` of a tree with Python services inside the host: the same command line, in an interpreter."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import BINARY, PATIENCE, Cli, tree, wait_for_event, worker
from worker_host import PACKAGE, TARGETS

pytestmark = [
    pytest.mark.native,
    pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built; say: make build"),
]


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def inside(target: str, name: str = "w", executor: str = "thread", **keys: Any) -> dict[str, Any]:
    return {"id": name, "python": target, "executor": executor, "readiness": {"kind": "notify"}, **keys}


def python_tree(*children: dict[str, Any], **host: Any) -> dict[str, Any]:
    return tree(*children, python=sys.executable, python_path=[str(PACKAGE), str(TARGETS)], **host)


def ends_of(path: str, log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in log if event.get("event") == "service_exited" and event["path"] == path]


def command_line(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")


@pytest.mark.parametrize("executor", ["thread", "async"])
def test_the_same_process_goes_on_in_an_interpreter(cli: Cli, executor: str) -> None:
    document = python_tree(inside("shapes:Either", executor=executor, config={"who": "you"}), worker("beside"))
    with cli.up(document) as host:
        assert command_line(host.pid)[1:4] == ["-m", "unirun", "up"]
        states = {entry["path"]: entry["state"] for entry in cli.json("status")["services"]}
        assert states == {"s": "running", "s/w": "running", "s/beside": "running"}
        assert cli.run("restart", "s/w").returncode == 0
    assert host.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_in_order(cli: Cli, number: signal.Signals) -> None:
    with cli.up(python_tree(inside("shapes:function", config={"who": "you"}))) as host:
        host.send_signal(number)
        out, err = host.communicate(timeout=PATIENCE)
    assert (host.returncode, err) == (0, "")
    *events, summary = [json.loads(line) for line in out.splitlines()]
    (end,) = ends_of("s/w", events)
    assert end["reason"]["kind"] == "shutdown"
    assert "summary" in summary


def test_it_ends_with_the_exit_codes_of_the_binary(cli: Cli) -> None:
    good = python_tree(inside("shapes:function", config={"who": "you"}))
    milliseconds = 300  # They count from the beginning: on a busy machine they may be over before all has started.
    while "--for" in (done := cli.run("up", cli.write(good), "--for", f"{milliseconds}ms")).stderr:
        milliseconds *= 2
    assert done.returncode == 0
    late = python_tree(inside("shapes:knows_nothing_of_stops", start_timeout="100ms"))
    failed = cli.run("up", cli.write(late))
    assert failed.returncode == 3
    assert 'failed_to_start_child "w": start timeout' in failed.stderr


def test_a_bad_target_is_refused_before_anything_starts(cli: Cli) -> None:
    done = cli.run("up", cli.write(python_tree(inside("shapes:function", executor="async"))))
    assert done.returncode == 78
    assert "would block the event loop" in done.stderr


def test_an_interpreter_without_unirun_is_refused_with_the_remedy(cli: Cli) -> None:
    document = tree(inside("shapes:function"), python="/usr/bin/python3", python_path=[str(TARGETS)])
    cli.environment.pop("PYTHONPATH", None)
    done = cli.run("up", cli.write(document))
    assert done.returncode == 78
    assert "it has no package unirun; install it there, or name its directory in host.python_path" in done.stderr


def test_services_get_the_python_path_that_the_host_got(cli: Cli) -> None:
    cli.environment["PYTHONPATH"] = "/from/outside"
    show = {"id": "show", "command": ["sh", "-c", "echo path=$PYTHONPATH door=$UNIRUN_DOOR; sleep 1000"]}
    with cli.up(python_tree(inside("shapes:function", config={"who": "you"}), show)) as host:
        line = ""
        while not line:
            line = cli.run("logs", "s/show").stdout
        assert "path=/from/outside door=\n" in line
        assert host.poll() is None


def test_a_subprocess_of_a_thread_service_keeps_its_exit_status(cli: Cli) -> None:
    with cli.up(python_tree(inside("shapes:runs_subprocesses"), worker("beside"))) as host:
        (beside,) = [entry for entry in cli.json("status")["services"] if entry["path"] == "s/beside"]
        os.kill(beside["pid"], signal.SIGKILL)
        assert wait_for_event(host, "service_status_text", "s/w")["text"] == "200 times 7"


@pytest.mark.parametrize("target", ["spins_for_ever", "sleeps_for_ever"])
def test_a_stuck_thread_keeps_nothing_from_ending(cli: Cli, target: str) -> None:
    with cli.up(python_tree(inside(f"shapes:{target}", shutdown="200ms"))) as host:
        host.send_signal(signal.SIGTERM)
        out, err = host.communicate(timeout=PATIENCE)
    assert (host.returncode, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    (end,) = ends_of("s/w", events)
    assert end["reason"]["kind"] == "stuck"
    assert f"in {target}" in end["reason"]["stacks"]
