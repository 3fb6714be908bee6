"""The client against a real host, over its control socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import unirun
from unirun import Child, Supervisor, events
from worker_host import PACKAGE, TARGETS

pytestmark = pytest.mark.native


def steady(name: str) -> Child:
    return Child(name, target="jobs:Steady", readiness={"kind": "notify"})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[unirun.Host]:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    with unirun.Host(
        [Supervisor("tree", children=[steady("one"), Supervisor("inner", children=[steady("deep one")])])],
        name="clients",
        state_dir=str(tmp_path / "state"),
        python_path=[str(PACKAGE), str(TARGETS)],
    ) as host:
        yield host


@pytest.fixture
def client(host: unirun.Host) -> unirun.Client:
    return unirun.connect(host.socket_path)


def test_finds_a_host_by_name_by_path_and_alone(host: unirun.Host) -> None:
    pid = os.getpid()
    for where in ("clients", host.socket_path, Path(host.socket_path), None):
        assert unirun.connect(where).request("version")["pid"] == pid


def test_says_where_no_host_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(unirun.HostUnreachable, match=r"/unirun/nobody\.sock.*unirun up"):
        unirun.connect("nobody")
    with pytest.raises(unirun.HostUnreachable, match="has no socket"):
        unirun.connect()
    (tmp_path / "unirun").mkdir()
    for name in ("a", "b"):
        (tmp_path / "unirun" / f"{name}.sock").touch()
    with pytest.raises(unirun.NotFound, match="name one of a, b"):
        unirun.connect()
    with pytest.raises(unirun.HostUnreachable):
        unirun.connect("a")


def test_answers_as_the_host_itself_does(host: unirun.Host, client: unirun.Client) -> None:
    def without_times(service: dict[str, object]) -> dict[str, object]:
        return {name: value for name, value in service.items() if name not in ("since", "uptime")}

    assert client["tree"].which_children() == host["tree"].which_children()
    assert client["tree"].count_children() == host["tree"].count_children()
    assert client["tree"].get_childspec("one") == host["tree"].get_childspec("one")
    assert client["tree/inner"].get_childspec("deep one") == host["tree/inner"].get_childspec("deep one")
    assert without_times(client.service("tree/one").status()) == without_times(host.service("tree/one").status())
    assert [child.id for child in client[""].which_children()] == ["tree"]
    assert [node["id"] for node in client.tree()["supervisors"]] == ["tree"]
    assert len(client.status()["services"]) == 4


def test_commands_a_service_with_a_blank_in_its_name(client: unirun.Client) -> None:
    service = client.service("tree/inner/deep one")
    assert service.stop()[0]["state"] == "stopped"
    assert service.start()[0]["state"] == "running"
    assert service.restart()[0]["state"] == "running"
    assert service.why()["path"] == "tree/inner/deep one"
    assert service.logs(tail=5) == []


def test_children_come_and_go(client: unirun.Client) -> None:
    tree = client["tree"]
    two = tree.start_child(steady("two"))
    assert tree.which_child("two") == two
    with pytest.raises(unirun.AlreadyStarted):
        tree.start_child(steady("two"))
    with pytest.raises(unirun.ChildRunning):
        tree.delete_child("two")
    tree.terminate_child("two")
    assert tree.restart_child("two").run != two.run
    tree.terminate_child("two")
    tree.delete_child("two")
    with pytest.raises(unirun.NotFound, match="did you mean"):
        client.service("tree/onne")
    with pytest.raises((unirun.InvalidConfiguration, unirun.InvalidChildSpec)):
        tree.start_child({"id": "bad", "command": ["true"], "restart": "always"})


def test_an_unknown_request_is_refused(client: unirun.Client) -> None:
    with pytest.raises(unirun.NotFound, match="which_childs"):
        client.request("which_childs")


def test_follows_events_from_now_on_up_to_the_end(host: unirun.Host, client: unirun.Client) -> None:
    stream = client.events.iterate(kinds=[events.ServiceStarted, events.ServiceExited, events.HostStopping])
    host.service("tree/one").restart()
    host.stop()
    seen = [(event.kind, event.path) for event in stream]
    assert seen[:2] == [("service_exited", "tree/one"), ("service_started", "tree/one")]
    assert ("host_stopping", "") in seen


def test_the_past_is_told_before_the_present(host: unirun.Host, client: unirun.Client) -> None:
    stream = client.since(0).iterate()
    first = next(stream)
    assert isinstance(first, events.HostStarted)
    host.stop()
    numbers = [first.sequence, *(event.sequence for event in stream)]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def test_history_comes_from_the_journal(client: unirun.Client) -> None:
    client.service("tree/one").restart()
    past = client.history(path="tree/one", kinds=["service_exited"])
    assert [event["event"] for event in past] == ["service_exited"]
    assert isinstance(events.event_from(past[0]), events.ServiceExited)


def test_a_stream_that_is_closed_ends_its_reader(client: unirun.Client) -> None:
    seen: list[events.Event] = []
    with client.events.subscribe(seen.append) as subscription:
        pass
    assert subscription.join(20)


def test_a_host_is_ended_from_afar(host: unirun.Host, client: unirun.Client) -> None:
    client.shutdown()
    assert host.wait(20) == 0
    with pytest.raises(unirun.HostUnreachable):
        client.status()
