"""Bad input gets a message that names the place and the remedy, the right exit code, and nothing started."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cli import BINARY, Cli, eventually_marked, processes_marked, tree, worker

pytestmark = pytest.mark.skipif(not BINARY.exists(), reason=f"{BINARY} is not built; say: make build")

OK, FAILURE, USAGE, SERVICE_FAILED, UNREACHABLE, NO_SUCH_SERVICE, INVALID = 0, 1, 2, 3, 4, 5, 78

PACKAGE = str(Path(__file__).parents[2] / "python_bindings")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def mark(tmp_path: Path) -> str:
    """A word that stands in no other command line."""
    return f"{os.getpid()}.{abs(hash(str(tmp_path))) % 10**9}"


BAD_CONFIGURATIONS: list[tuple[str, dict[str, Any] | str, str, str]] = [
    ("broken JSON", '{\n  "supervisors": [\n}', "line 3, column 1:", "this is not JSON"),
    ("a comma too many", '{"supervisors": [],\n}', "line 2, column 1:", 'remove the comma before this "}"'),
    ("an empty file", "", "line 1, column 1:", 'expected an object with "supervisors"'),
    ("an unknown key", tree({"id": "w", "comand": ["true"]}), "/supervisors/0/children/0/comand", 'mean "command"?'),
    ("a duplicate id", tree(worker(), worker()), "/supervisors/0/children/1/id", 'duplicate id "w"'),
    (
        "a duplicate key",
        '{"supervisors": [{"id": "a",\n"id": "b", "children": []}]}',
        "/supervisors/0/id (line 2)",
        'the key "id" stands here twice',
    ),
    (
        "a cycle",
        tree(worker("a", depends_on=["b"]), worker("b", depends_on=["a"])),
        "/supervisors/0/children",
        "a -> b -> a",
    ),
    ('"10" for a duration', tree(worker(shutdown="10")), "/supervisors/0/children/0/shutdown", 'write "10s"'),
    ("10 for a duration", tree(worker(start_timeout=10)), "/supervisors/0/children/0/start_timeout", 'write "10s"'),
    (
        "a command that is not there",
        tree({"id": "w", "command": ["no-such-program"]}),
        "/supervisors/0/children/0/command/0",
        'there is no program "no-such-program"',
    ),
    (
        "a Python target that does not import",
        tree({"id": "w", "python": "no_such_module:main"}, python=sys.executable, python_path=[PACKAGE]),
        "/supervisors/0/children/0/python",
        "No module named 'no_such_module'",
    ),
    (
        "a Python target without that attribute",
        tree({"id": "w", "python": "os.path:no_such_thing"}, python=sys.executable, python_path=[PACKAGE]),
        "/supervisors/0/children/0/python",
        "has no attribute 'no_such_thing'",
    ),
    (
        "a Python target that would block its event loop",
        tree(
            {"id": "w", "python": "time:sleep", "executor": "async_process"},
            python=sys.executable,
            python_path=[PACKAGE],
        ),
        "/supervisors/0/children/0/python",
        "would block the event loop; make it one",
    ),
    (
        "a command on a thread",
        tree(worker(executor="thread")),
        "/supervisors/0/children/0/command",
        'the executor "thread" runs services inside the host, and a command needs a process',
    ),
    (
        "a secret that is not set",
        tree(worker(env={"A": {"env": "NOT_SET_ANYWHERE"}})),
        "/supervisors/0/children/0/env/A/env",
        'the environment has no "NOT_SET_ANYWHERE"',
    ),
    ("a directory that is not there", tree(worker(cwd="no/such")), "/supervisors/0/children/0/cwd", "No such file"),
    (
        "a user that is not there",
        tree(worker(user="no-such-user")),
        "/supervisors/0/children/0/user",
        "there is no user",
    ),
]


@pytest.mark.parametrize(
    ("document", "place", "says"),
    [case[1:] for case in BAD_CONFIGURATIONS],
    ids=[case[0] for case in BAD_CONFIGURATIONS],
)
def test_bad_configuration_is_refused_before_anything_starts(
    cli: Cli, document: dict[str, Any] | str, place: str, says: str
) -> None:
    path = cli.write(document)
    for command in ("validate", "up"):
        done = cli.run(command, path)
        assert done.returncode == INVALID
        assert place in done.stderr
        assert says in done.stderr
        assert done.stdout == ""
    assert not (cli.directory / "state").exists()


def test_all_faults_are_in_one_report(cli: Cli) -> None:
    path = cli.write(
        tree(worker(restart="always"), worker("x", shutdown=5), {"id": "y", "command": ["no-such-program"]})
    )
    done = cli.run("validate", path)
    assert done.stderr.startswith(f"{path}: 3 faults\n")


def test_missing_file(cli: Cli) -> None:
    for command in ("validate", "up"):
        done = cli.run(command, "nowhere.json")
        assert done.returncode == INVALID
        assert "nowhere.json: 1 fault" in done.stderr
        assert "No such file or directory; check the path" in done.stderr


def test_a_directory_for_a_file(cli: Cli) -> None:
    done = cli.run("up", str(cli.directory))
    assert done.returncode == INVALID
    assert "this is a directory; expected a JSON file" in done.stderr


def test_port_in_use(cli: Cli) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server = f"socket.create_server(('127.0.0.1', {port}))"
        script = f"import socket; kept = {server}; print('ready', flush=True)"
        path = cli.write(
            tree(
                worker("before"),
                {
                    "id": "server",
                    "command": [sys.executable, "-c", script],
                    "readiness": {"kind": "log", "pattern": "^ready"},
                },
            )
        )
        done = cli.run("up", path)
    assert done.returncode == SERVICE_FAILED
    assert "s/server" in done.stdout
    assert "exit code 1" in done.stdout
    why = cli.run("why", "s/server")
    assert why.returncode == UNREACHABLE  # It has ended, and says so.


def test_directory_without_rights(cli: Cli) -> None:
    # Below a file nobody has rights, not even root.
    (cli.directory / "file").write_text("", encoding="utf-8")
    path = cli.write(tree(worker(), state_dir="file/state"))
    done = cli.run("up", path)
    assert done.returncode == FAILURE
    assert "file/state" in done.stderr


def test_runtime_directory_without_rights(cli: Cli) -> None:
    (cli.directory / "file").write_text("", encoding="utf-8")
    path = cli.write(tree(worker(), runtime_dir="file/run"))
    done = cli.run("up", path)
    assert done.returncode == FAILURE
    assert "file/run" in done.stderr


def test_second_host_on_the_same_socket(cli: Cli, mark: str) -> None:
    document = tree({"id": "w", "command": ["sh", "-c", f"sleep 1000; : {mark}"]})
    with cli.up(document) as first:
        assert eventually_marked(mark, 1)
        second = cli.run("up", cli.write(document))
        assert second.returncode == FAILURE
        assert f"already runs as pid {first.pid}" in second.stderr
        assert len(processes_marked(mark)) == 1  # The second has started nothing.
        assert cli.run("status").returncode == OK  # The first is as it was.
    assert eventually_marked(mark, 0)


def test_stale_socket_does_not_block_the_next_start(cli: Cli, mark: str) -> None:
    document = tree({"id": "w", "command": ["sh", "-c", f"sleep 1000; : {mark}"]})
    with cli.up(document) as host:
        host.send_signal(signal.SIGKILL)
        host.wait()
    assert eventually_marked(mark, 0)
    assert cli.run("status").returncode == UNREACHABLE
    with cli.up(document):
        assert cli.json("status")["services"][0]["path"].startswith("s")
    assert eventually_marked(mark, 0)


def test_no_such_service(cli: Cli) -> None:
    with cli.up(tree(worker("ingest"))):
        for command in (["stop", "s/ingets"], ["logs", "s/ingets"], ["why", "s/ingets"], ["restart", "s/ingets"]):
            done = cli.run(*command)
            assert done.returncode == NO_SUCH_SERVICE, (command, done.stderr)
            assert "s/ingest" in done.stderr  # What was probably meant.


def test_nobody_behind_the_socket(cli: Cli) -> None:
    done = cli.run("status")
    assert done.returncode == UNREACHABLE
    assert "start one with `unirun up CONFIG`" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["statsu"], ["up"], ["up", "x.json", "--for", "10"], ["scale", "a"]])
def test_usage(cli: Cli, arguments: list[str]) -> None:
    done = cli.run(*arguments)
    assert done.returncode == USAGE
    assert done.stderr


def test_crash_loop_does_not_spin(cli: Cli) -> None:
    document = tree({"id": "w", "command": ["sh", "-c", "sleep 0.05; exit 3"]})
    document["supervisors"][0]["restart_intensity"] = {"max_restarts": 3, "period": "1h"}
    done = cli.run("up", cli.write(document), "--json")
    assert done.returncode == FAILURE  # It gave up, and so did the root.
    events = [json.loads(line) for line in done.stdout.splitlines()]
    starts = [event for event in events if event.get("event") == "service_starting" and event["path"] == "s/w"]
    assert len(starts) == 2 * (1 + 3)  # The root tries its supervisor once more.


def test_reader_of_the_log_may_leave(cli: Cli, mark: str) -> None:
    path = cli.write(tree({"id": "w", "command": ["sh", "-c", f"sleep 1000; : {mark}"]}))
    host = subprocess.Popen(
        [str(BINARY), "up", path, "--for", "1s"], env=cli.environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    assert host.stdout is not None
    host.stdout.readline()
    host.stdout.close()
    assert host.wait(timeout=30) == OK
    assert eventually_marked(mark, 0)
