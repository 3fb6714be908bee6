"""Counters and gauges, from a service to ``/metrics``."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unirun
from recorder import Make
from unirun import Child, ServiceContext, events
from unirun._metrics import INTERVAL, Gathered, Pulse
from worker_host import PATIENCE, WorkerHost

Start = Callable[..., WorkerHost]


def totals(frames: list[dict[str, Any]]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for frame in frames:
        for name, by in frame.get("counters", {}).items():
            sums[name] = sums.get(name, 0) + by
    return sums


# ---- In a service ----


def test_a_tight_loop_sends_a_few_frames_and_loses_nothing(start_worker: Start) -> None:
    begin = time.monotonic()
    worker = start_worker("observers:counts", config={"times": 200_000})
    frames = [frame for frame in worker.frames() if frame["type"] == "metrics"]
    assert totals(frames) == {"done": 200_000, "bytes": 0.5}
    assert frames[-1]["gauges"] == {"depth": 2}
    assert len(frames) <= (time.monotonic() - begin) / INTERVAL + 2
    assert worker.finish() == (0, "", "")


def test_a_change_is_told_while_the_service_rests(start_worker: Start) -> None:
    worker = start_worker("observers:counts_and_rests")
    assert worker.wait_for("metrics")["counters"] == {"done": 1}
    worker.cancel()
    assert worker.finish()[0] == 0


def test_a_forked_child_counts_for_nobody(start_worker: Start) -> None:
    worker = start_worker("observers:counts_in_a_fork")
    assert totals(list(worker.frames())) == {"done": 1}
    assert worker.finish()[0] == 0


def test_a_signal_handler_may_count(start_worker: Start) -> None:
    worker = start_worker("observers:counts_in_a_signal_handler")
    assert totals(list(worker.frames()))["done"] >= 99_000  # A handler may cut into an addition.
    assert worker.finish()[0] == 0


def test_nobody_wakes_up_while_nothing_changes() -> None:
    sent = threading.Event()
    before = set(os.listdir("/proc/self/task"))
    gathered = Gathered(lambda _frame: sent.set(), Pulse())
    gathered.count("done", 1)
    assert sent.wait(PATIENCE)
    (sender,) = set(os.listdir("/proc/self/task")) - before

    def switches() -> int:
        status = Path(f"/proc/self/task/{sender}/status").read_text()
        return sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", status))

    deadline = time.monotonic() + PATIENCE
    # An eventfd is waited for in eventfd_read(), of which newer kernels name the innermost part.
    while not re.search("eventfd|wait_intr_irq", Path(f"/proc/self/task/{sender}/wchan").read_text()):
        assert time.monotonic() < deadline
        os.sched_yield()
    asleep = switches()
    time.sleep(4 * INTERVAL)  # The time that is measured.
    assert switches() == asleep


def test_counters_and_gauges_refuse_what_they_cannot_be() -> None:
    context = ServiceContext()
    counter = context.counter("done")
    assert context.counter("done") is counter
    with pytest.raises(ValueError, match="'done': -1 is no number from 0 on"):
        counter.add(-1)
    with pytest.raises(ValueError, match="nan"):
        counter.add(float("nan"))
    with pytest.raises(ValueError, match="'depth': nan is no number"):
        context.gauge("depth").set(float("nan"))
    with pytest.raises(ValueError, match="'done' is a counter already"):
        context.gauge("done")
    for name in ("", "x" * 129):
        with pytest.raises(ValueError, match="1 to 128 bytes"):
            context.counter(name)


def test_a_context_by_hand_takes_its_own_sink() -> None:
    told: list[tuple[str, float]] = []

    class Sink:
        def count(self, name: str, by: float, /) -> None:
            told.append((name, by))

        def gauge(self, name: str, value: float, /) -> None:
            told.append((name, value))

    context = ServiceContext(metrics=Sink())
    context.counter("done").add(2)
    context.gauge("depth").set(-1)
    assert told == [("done", 2), ("depth", -1)]


# ---- Through a host ----


def scrape(socket_path: str) -> tuple[str | None, str]:
    connection = http.client.HTTPConnection("localhost")
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.connect(socket_path)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.status == 200
    text = response.read().decode()
    connection.close()
    return response.headers["content-type"], text


@pytest.mark.native
def test_counters_reach_the_metrics_and_go_on_over_restarts(make_host: Make, tmp_path: Path) -> None:
    die = tmp_path / "die"
    metered = Child("metered", target="observers:Metered", config={"die": str(die)}, readiness={"kind": "notify"})
    host, recorder = make_host(metered, Child("plain", command=["sleep", "1000"]), control=True)
    with host:
        wait_for_line(host, 'unirun_service_counter_total{service="tree/metered",name="lives"} 1')
        wait_for_line(host, 'unirun_service_gauge{service="tree/metered",name="depth"} 7')
        die.touch()
        recorder.wait_for(events.ServiceStarted, "tree/metered", 2)
        wait_for_line(host, 'unirun_service_counter_total{service="tree/metered",name="lives"} 2')
        text = host.metrics()
        assert 'unirun_service_restarts_total{service="tree/metered",reason="exception"} 1\n' in text
        assert 'unirun_service_exits_total{service="tree/metered",reason="exception"} 1\n' in text
        assert 'unirun_service_starts_total{service="tree/plain"} 1\n' in text
        assert 'unirun_service_up{service="tree/plain"} 1\n' in text

        kind, scraped = scrape(host.socket_path)
        assert kind == "text/plain; version=0.0.4; charset=utf-8"
        families = re.findall(r"^# TYPE (\S+)", scraped, re.M)
        assert families == re.findall(r"^# TYPE (\S+)", unirun.connect(host.socket_path).metrics(), re.M)
        assert len(set(families)) == len(families)
        (status,) = [one for one in host.status()["services"] if one["path"] == "tree/metered"]
        assert status["status"] == "counting sheep"
        assert host.tree()["supervisors"][0]["children"][0]["status"] == "counting sheep"

        host["tree"].terminate_child("metered")
        assert "unirun_service_gauge{" not in host.metrics()
        host["tree"].delete_child("metered")
        assert "tree/metered" not in host.metrics()


def wait_for_line(host: unirun.Host, line: str) -> None:
    """Asks again until the worker's next frame is there."""
    deadline = time.monotonic() + PATIENCE
    while line + "\n" not in (text := host.metrics()):
        assert time.monotonic() < deadline, text


@pytest.mark.native
def test_what_a_worker_counted_before_it_was_killed_is_there(make_host: Make) -> None:
    host, recorder = make_host(Child("one", target="observers:counts_and_rests"))
    with host:
        wait_for_line(host, 'unirun_service_counter_total{service="tree/one",name="done"} 1')
        pid = host.service("tree/one").status()["pid"]
        os.kill(pid, signal.SIGKILL)
        recorder.wait_for(events.ServiceStarted, "tree/one", 2)
        wait_for_line(host, 'unirun_service_counter_total{service="tree/one",name="done"} 2')
