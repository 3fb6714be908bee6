"""The pools of a service belong to it: named, counted, ended and begun again with it, under every executor."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import unirun
from recorder import Make, Recorder
from unirun import Child, ServiceContext, events
from unirun._metrics import INTERVAL
from worker_host import WorkerHost

PATIENCE = 30.0  # Seconds until a test gives up.
ALL = ["process", "thread", "async", "async_process"]
FLAVORS = ["threads", "processes"]

everywhere = pytest.mark.parametrize("executor", ALL)
every_flavor = pytest.mark.parametrize("flavor", FLAVORS)


def child(name: str, executor: str, **members: Any) -> Child:
    flags: dict[str, Any] = {"readiness": {"kind": "notify"}, **members}
    return Child("one", target=f"pooled:{name}", executor=executor, **flags)  # type: ignore[arg-type]


def eventually(true_by_now: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true_by_now():
        assert time.monotonic() < deadline, true_by_now
        time.sleep(0.01)


def said(recorder: Recorder, count: int = 1) -> str:
    return recorder.wait_for(events.ServiceStatusText, "tree/one", count).text


def tasks(host: unirun.Host) -> dict[str, int]:
    (row,) = [row for row in host.status()["services"] if row["path"] == "tree/one"]
    counts: dict[str, int] = row.get("tasks", {})
    return counts


def is_gone(pid: int) -> bool:
    try:
        return "Z" in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True


# ---- Named and counted ----


@pytest.mark.native
@everywhere
@every_flavor
@pytest.mark.parametrize("plain", [False, True])
def test_the_threads_and_processes_of_a_pool_are_named_after_the_service(
    make_host: Make, executor: str, flavor: str, plain: bool
) -> None:
    host, recorder = make_host(child("Named", executor, config={"flavor": flavor, "plain": plain}))
    with host:
        first, second, kernel = re.fullmatch(r"(\S+) (\S+) (\S*)", said(recorder)).groups()  # type: ignore[union-attr]
    assert re.fullmatch(r"tree/one_\d+(:\d+)?", first)
    assert re.fullmatch(r"tree/one:resize_\d+(:\d+)?", second)
    assert kernel == ("one" if flavor == "processes" else "")


@pytest.mark.native
@everywhere
@every_flavor
def test_tasks_are_counted_in_status_and_metrics(make_host: Make, executor: str, flavor: str) -> None:
    host, _ = make_host(child("Counting", executor, config={"flavor": flavor}))
    with host:
        expected = {"submitted": 10, "completed": 3, "failed": 1, "cancelled": 1, "queued": 4, "running": 1}
        eventually(lambda: tasks(host) == expected)
        text = host.metrics()  # Nothing changes any more.
        for name in ("submitted", "completed", "failed", "cancelled"):
            line = f'unirun_service_counter_total{{service="tree/one",name="tasks_{name}"}} {expected[name]}'
            assert line in text.splitlines()
        for name in ("queued", "running"):
            line = f'unirun_service_gauge{{service="tree/one",name="tasks_{name}"}} {expected[name]}'
            assert line in text.splitlines()


@pytest.mark.native
def test_a_service_without_a_pool_has_no_tasks(make_host: Make) -> None:
    host, _ = make_host(Child("one", target="observers:counts_and_rests"))
    with host:
        eventually(lambda: 'name="done"' in host.metrics())
        assert tasks(host) == {}


@pytest.mark.native
@everywhere
def test_a_new_life_gets_new_pools_and_counts_on(make_host: Make, executor: str, tmp_path: Path) -> None:
    die = tmp_path / "die"
    host, recorder = make_host(child("Crashing", executor, config={"flavor": "processes", "die": str(die)}))
    with host:
        eventually(lambda: tasks(host).get("completed") == 1)
        die.touch()
        recorder.wait_for(events.ServiceStarted, "tree/one", 2)
        expected = {"submitted": 2, "completed": 2, "failed": 0, "cancelled": 0, "queued": 0, "running": 0}
        eventually(lambda: tasks(host) == expected)


@pytest.mark.native
@everywhere
def test_what_is_opened_in_the_thread_of_a_pool_belongs_to_the_service(make_host: Make, executor: str) -> None:
    host, recorder = make_host(child("Nesting", executor))
    with host:
        assert re.fullmatch(r"tree/one_\d+ tree/one_\d+", said(recorder))
        assert recorder.wait_for(events.ServiceLog, "tree/one").message == "within"
        eventually(lambda: tasks(host).get("completed") == 3)


@pytest.mark.native
def test_services_beside_each_other_have_pools_and_counts_of_their_own(make_host: Make) -> None:
    flags: dict[str, Any] = {"readiness": {"kind": "notify"}}
    names = [f"{executor}-{n}" for executor in ("thread", "async") for n in (1, 2)]
    host, recorder = make_host(
        *(Child(name, target="pooled:Nesting", executor=name[:-2], **flags) for name in names)  # type: ignore[arg-type]
    )
    with host:
        for name in names:
            assert recorder.wait_for(events.ServiceStatusText, f"tree/{name}").text.startswith(f"tree/{name}_")

        def completed() -> list[int]:
            return [row["tasks"]["completed"] for row in host.status()["services"] if "tasks" in row]

        eventually(lambda: completed() == [3, 3, 3, 3])


# ---- Ended with it ----


@pytest.mark.native
@everywhere
@every_flavor
@pytest.mark.parametrize("ends", ["stop", "return", "raise"])
def test_a_pool_that_was_left_open_ends_with_the_service(
    make_host: Make, executor: str, flavor: str, ends: str
) -> None:
    config = {"flavor": flavor, "ends": ends}
    host, recorder = make_host(child("Leaving", executor, config=config, restart="temporary"))
    with host:
        pid, thread = said(recorder).split()
        if ends == "stop":
            host.service("tree/one").stop()
        expected = {"stop": "shutdown", "return": "normal", "raise": "exception"}[ends]
        assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == expected
        if flavor == "processes":
            eventually(lambda: is_gone(int(pid)))
        eventually(lambda: thread == "MainThread" or thread not in [one.name for one in threading.enumerate()])


@pytest.mark.native
@everywhere
def test_a_service_that_waits_for_a_process_is_interrupted_by_the_end_of_its_pool(
    make_host: Make, executor: str
) -> None:
    host, recorder = make_host(child("Waiting", executor, shutdown="100ms", restart="temporary"))
    with host:
        pid = int(said(recorder))
        host["tree"].terminate_child("one")
        recorder.wait_for(events.ServiceExited, "tree/one")
        eventually(lambda: is_gone(pid))
        # A machine that is very busy may take longer than the second after which a thread is given up.
        eventually(lambda: host.status()["host"]["abandoned_threads"] == 0)


@pytest.mark.native
@everywhere
def test_a_killed_service_takes_its_pool_along(make_host: Make, executor: str) -> None:
    host, recorder = make_host(child("Waiting", executor, shutdown="100ms"))
    with host:
        pid = int(said(recorder))
        host.service("tree/one").kill()
        assert int(said(recorder, 2)) != pid
        eventually(lambda: is_gone(pid))


def test_a_service_that_has_ended_opens_no_pools() -> None:
    context = ServiceContext(path="tree/one")
    context._end_pools()
    with pytest.raises(RuntimeError, match="tree/one: this service has ended"), context.run():
        pass


# ---- At no cost while nothing happens ----


def switches(pid: int) -> int:
    """How often all threads of a process have been switched to."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", status))
    return total


@every_flavor
@pytest.mark.parametrize("busy", [False, True])
def test_nobody_wakes_up_while_no_task_begins_or_ends(
    start_worker: Callable[..., WorkerHost], flavor: str, busy: bool
) -> None:
    worker = start_worker("pooled:Resting", config={"flavor": flavor, "busy": busy})
    worker.wait_for("ready")

    def rests() -> bool:
        before = switches(worker.process.pid)
        time.sleep(4 * INTERVAL)  # The time that is measured.
        return switches(worker.process.pid) == before

    eventually(rests)


def test_many_tasks_are_told_in_a_few_frames(start_worker: Callable[..., WorkerHost]) -> None:
    begin = time.monotonic()
    worker = start_worker("pooled:many", config={"count": 20_000})
    frames = [frame for frame in worker.frames() if frame["type"] == "metrics"]
    assert sum(frame["counters"].get("tasks_completed", 0) for frame in frames) == 20_000
    assert len(frames) <= (time.monotonic() - begin) / INTERVAL + 3
    assert worker.finish() == (0, "", "")
