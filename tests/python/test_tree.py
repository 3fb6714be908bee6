"""Trees built in Python say what a configuration would say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import unirun
from unirun import Child, InvalidArgument, Service, Supervisor
from unirun.tree import target_name


class Ingest(Service):
    class Inner(Service):
        pass


def collect() -> None:
    pass


def test_says_only_what_was_said() -> None:
    assert Child("a", command=["sleep", "1"]).to_json() == {"id": "a", "command": ["sleep", "1"]}
    assert Supervisor("s").to_json() == {"id": "s", "children": []}


def test_writes_every_member_in_the_words_of_the_configuration() -> None:
    child = Child(
        "ingest",
        target=Ingest,
        executor="process",
        config={"timeout": 5, "nested": {"period": 2}},
        instances=4,
        restart="transient",
        shutdown=0.25,
        significant=True,
        start_timeout=90,
        backoff={"kind": "exponential", "initial": 0.1, "max": "30s", "factor": 2, "jitter": 0.5},
        depends_on=["broker", {"id": "db", "condition": "completed"}],
        readiness={"kind": "tcp", "port": 7001, "interval": 1e-6},
        liveness={"kind": "heartbeat", "timeout": 10},
        cwd=Path("/tmp"),
        env={"TIMEOUT": "5"},
        rlimits={"nofile": 64},
        nice=5,
    )
    assert child.to_json() == {
        "id": "ingest",
        "python": "test_tree:Ingest",
        "executor": "process",
        "config": {"timeout": 5, "nested": {"period": 2}},
        "instances": 4,
        "restart": "transient",
        "shutdown": "0.25s",
        "significant": True,
        "start_timeout": "90s",
        "backoff": {"kind": "exponential", "initial": "0.1s", "max": "30s", "factor": 2, "jitter": 0.5},
        "depends_on": ["broker", {"id": "db", "condition": "completed"}],
        "readiness": {"kind": "tcp", "port": 7001, "interval": "0.000001s"},
        "liveness": {"kind": "heartbeat", "timeout": "10s"},
        "cwd": "/tmp",
        "env": {"TIMEOUT": "5"},
        "rlimits": {"nofile": 64},
        "nice": 5,
    }


def test_a_supervisor_holds_workers_and_supervisors_in_order() -> None:
    tree = Supervisor(
        "pipeline",
        strategy="rest_for_one",
        max_restarts=0,
        period=10.0,
        shutdown="infinity",
        children=[Child("a", command=["a"]), Supervisor("inner", on_exhausted="probe", probe_interval=30)],
    )
    assert tree.to_json() == {
        "id": "pipeline",
        "strategy": "rest_for_one",
        "restart_intensity": {"max_restarts": 0, "period": "10s"},
        "shutdown": "infinity",
        "children": [
            {"id": "a", "command": ["a"]},
            {"id": "inner", "on_exhausted": "probe", "probe_interval": "30s", "children": []},
        ],
    }


def test_a_target_is_named_so_that_another_process_can_import_it() -> None:
    assert target_name("package.module:attribute") == "package.module:attribute"
    assert target_name(Ingest) == "test_tree:Ingest"
    assert target_name(Ingest.Inner) == "test_tree:Ingest.Inner"
    assert target_name(collect) == "test_tree:collect"


def test_a_target_that_no_other_process_can_import_is_refused() -> None:
    def local() -> None:
        pass

    with pytest.raises(InvalidArgument, match="define it at the top of a module"):
        target_name(local)
    with pytest.raises(InvalidArgument, match="local to a function"):
        Child("a", target=lambda: None)
    with pytest.raises(InvalidArgument, match="has no name"):
        target_name(42)  # type: ignore[arg-type]


SCRIPT = """
import unirun.tree
def job(): pass
if __name__ == "__main__":
    print(unirun.tree.target_name(job))
"""


@pytest.mark.parametrize("way", ["file", "module", "interactive"])
def test_a_target_of_the_main_script_is_named_by_what_was_run(tmp_path: Path, way: str) -> None:
    script = tmp_path / "jobs.py"
    script.write_text(SCRIPT)
    arguments = {"file": ["jobs.py"], "module": ["-m", "jobs"], "interactive": ["-c", SCRIPT]}
    said = subprocess.run(
        [sys.executable, *arguments[way]],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(unirun.__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    if way == "interactive":
        assert "put it into a file" in said.stderr
    else:
        expected = f"{script}:job\n" if way == "file" else "jobs:job\n"
        assert said.stdout == expected
