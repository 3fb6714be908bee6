"""Events everywhere: one order, one sequence; services that observe each other; their logs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unirun
from recorder import Make, Recorder
from unirun import Child, events
from worker_host import PATIENCE, WorkerHost

Start = Callable[..., WorkerHost]


def child(id: str, target: str, **members: Any) -> Child:
    return Child(id, target=f"observers:{target}", readiness={"kind": "notify"}, **members)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- Logs ----


def test_a_record_carries_its_exception_and_what_is_extra(start_worker: Start) -> None:
    worker = start_worker("observers:logs", log_level="warning")
    late, failed, mine = [frame for frame in worker.frames() if frame["type"] == "log"]
    assert (late["level"], late["logger"], late["message"]) == ("WARNING", "app.part", "job 7 is late")
    assert late["extra"] == {"job": "7", "tags": "['a']"}
    assert late["file"].endswith("observers.py") and late["line"] > 0
    assert failed["level"] == "ERROR"
    assert failed["message"].startswith("it failed\nTraceback (most recent call last):\n")
    assert failed["message"].endswith("ValueError: no such job")
    assert failed["extra"] == {}
    assert mine["logger"] == "tree.one"


@pytest.mark.parametrize(("level", "count"), [("debug", 4), ("error", 2), ("critical", 0)])
def test_the_level_of_the_tree_decides_what_is_sent(start_worker: Start, level: str, count: int) -> None:
    worker = start_worker("observers:logs", log_level=level)
    assert len([frame for frame in worker.frames() if frame["type"] == "log"]) == count


@pytest.mark.native
def test_a_record_is_an_event_with_all_of_it(make_host: Make) -> None:
    host, recorder = make_host(Child("one", target="observers:logs", log_level="warning"))
    with host:
        event = recorder.wait_for(events.ServiceLog, "tree/one")
        assert (event.level, event.logger, event.message) == ("WARNING", "app.part", "job 7 is late")
        assert event.extra == {"job": "7", "tags": "['a']"}
        assert event.file.endswith("observers.py")
        assert "job 7 is late" in str(event)
        assert hash(event) == hash(event)
        assert recorder.wait_for(events.ServiceLog, "tree/one", 3).message == "mine"
        assert not any(event.message == "too low" for event in recorder.of(events.ServiceLog))


# ---- Services that observe ----


def test_without_a_control_socket_a_worker_is_told_so(start_worker: Start) -> None:
    worker = start_worker("observers:observes_without_a_socket")
    exception = worker.wait_for("exception")["exception"]
    assert exception["type"] == "unirun.errors.Unsupported"
    assert "a host with a control socket" in exception["message"]


@pytest.mark.native
@pytest.mark.parametrize("target", ["ByIterator", "ByAsyncFor"])
def test_a_service_sees_its_sibling_die(make_host: Make, tmp_path: Path, target: str) -> None:
    sibling = child("dying", "Metered", config={"die": str(tmp_path / "die")})
    host, recorder = make_host(child("watcher", target, config={"sibling": "tree/dying"}), sibling, control=True)
    with host:
        (tmp_path / "die").touch()
        recorder.wait_for(events.ServiceStarted, "tree/dying", 2)
        assert recorder.wait_for(events.ServiceStatusText, "tree/watcher").text == "tree/dying ended: as told"


@pytest.mark.native
def test_a_service_sees_events_by_a_callback(make_host: Make, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    host, recorder = make_host(
        child("watcher", "ByCallback", config={"file": str(seen)}),
        child("dying", "Metered", config={"die": str(tmp_path / "die")}),
        control=True,
    )
    with host:
        (tmp_path / "die").touch()
        recorder.wait_for(events.ServiceStarted, "tree/dying", 2)
        wait_until(lambda: "service_exited tree/dying" in seen.read_text())


@pytest.mark.native
def test_all_observers_see_one_order_and_one_sequence(make_host: Make, tmp_path: Path) -> None:
    """The bus in C++, a callback here, the socket, a service of the host, the journal."""
    written, die = tmp_path / "sequences", tmp_path / "die"
    host, recorder = make_host(
        child("watcher", "Sequences", config={"file": str(written)}),
        child("dying", "Metered", config={"die": str(die)}),
        control=True,
        journal=True,
    )
    with host:
        by_socket = Recorder()
        subscription = unirun.connect(host.socket_path).events.subscribe(by_socket)
        by_iterator: list[events.Event] = []
        stream = host.events.iterate()
        reader = threading.Thread(target=lambda: by_iterator.extend(stream))
        reader.start()
        for life in range(2, 5):
            die.touch()
            recorder.wait_for(events.ServiceStarted, "tree/dying", life)
        # From the first death on all of them were there.
        first = recorder.wait_for(events.ServiceExited, "tree/dying").sequence - 1
        last = recorder.wait_for(events.ServiceStarted, "tree/dying", 4).sequence
        by_socket.wait_for(events.ServiceStarted, "tree/dying", 3)
        wait_until(lambda: f"{last} service_started tree/dying\n" in written.read_text())
        journal = host.history(since=first, limit=10_000)

    reader.join(PATIENCE)
    subscription.close()

    def numbered(seen: list[events.Event]) -> list[tuple[int, str, str]]:
        return [(event.sequence, event.kind, event.path) for event in seen if first < event.sequence <= last]

    expected = numbered(recorder.events)
    assert [number for number, _, _ in expected] == list(range(first + 1, last + 1))
    assert numbered(by_iterator) == expected
    assert numbered(by_socket.events) == expected
    assert [(one["sequence"], one["event"], one["path"]) for one in journal if one["sequence"] <= last] == expected
    lines = [line.split(" ", 2) for line in written.read_text().splitlines()]
    by_service = [(int(number), kind, path) for number, kind, path in lines]
    assert [one for one in by_service if first < one[0] <= last] == expected


@pytest.mark.native
def test_what_a_stream_lost_is_counted_and_is_no_event(make_host: Make) -> None:
    """The server tells a slow client how much it lost, in a notice without a number."""
    from unirun.client import SocketQueue

    host, _ = make_host(child("one", "Metered", config={"die": "/nonexistent"}), control=True)
    with host:
        queue = SocketQueue(host.socket_path, (), 100, "test")
        queue._hear({"event": "observer_dropped", "observer": "this stream", "count": 7})
        assert queue.dropped == 7
        queue.close()
