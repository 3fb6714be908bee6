"""Python services that share the host's process: what they can do to it, and what it does about that."""

from __future__ import annotations

import asyncio
import gc
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import unirun
from recorder import PATIENCE, Make
from targets.slow_module import SlowModule, struck_machinery, wait_until_it_imports
from unirun import Child, ServiceContext, events
from worker_host import PACKAGE, TARGETS

pytestmark = pytest.mark.native

INSIDE = ["thread", "async"]


def child(target: Any, executor: str, id: str = "one", **members: Any) -> Child:
    target = f"inside:{target}" if isinstance(target, str) else target
    return Child(id, target=target, executor=executor, readiness={"kind": "notify"}, **members)  # type: ignore[arg-type]


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# ---- What the context gives ----


@pytest.mark.parametrize("executor", INSIDE)
def test_counters_go_on_over_restarts_and_gauges_end(make_host: Make, executor: str) -> None:
    host, recorder = make_host(child("Metered", executor), control=True)
    label = '{service="tree/one",name='
    with host:
        for life in (1, 2):
            recorder.wait_for(events.ServiceStarted, "tree/one", life)
            text = host.metrics()
            assert f'unirun_service_counter_total{label}"lives"}} {life}\n' in text
            assert f'unirun_service_gauge{label}"depth"}} 7\n' in text
            if life == 1:
                host.service("tree/one").restart()
        host.service("tree/one").stop()
        assert "unirun_service_gauge{" not in host.metrics()


@pytest.mark.parametrize("executor", INSIDE)
def test_a_service_observes_another_without_a_socket(make_host: Make, executor: str) -> None:
    host, recorder = make_host(
        child("Watches", executor, config={"sibling": "tree/two"}),
        child("dies_when_told", "thread", "two", restart="temporary"),
    )
    with host:
        assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "saw exception"
    assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "shutdown"


def test_the_events_of_a_thread_end_with_its_stop(make_host: Make) -> None:
    host, recorder = make_host(child("Watches", "thread", config={"sibling": "none"}))
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
    assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "no more events"


def test_what_a_service_forgets_to_close_ends_with_it(make_host: Make) -> None:
    host, recorder = make_host(child("subscribes_and_forgets", "thread", restart="temporary"))
    with host:
        recorder.wait_for(events.ServiceExited, "tree/one")
        # One reader is the recorder's.
        wait_until(lambda: [thread.name for thread in threading.enumerate()].count("unirun-events") == 1)


def test_a_thread_has_the_name_of_its_service(make_host: Make) -> None:
    host, recorder = make_host(child("tells_its_thread", "thread"))
    with host:
        assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "one tree/one"


@pytest.mark.parametrize(
    ("executor", "target"), [("thread", "ends_a_process"), ("async", "ends_a_process_on_the_loop")]
)
def test_a_process_of_a_service_hears_sigterm(make_host: Make, executor: str, target: str) -> None:
    host, recorder = make_host(child(target, executor))
    with host:
        assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "returned -15"


def test_process_children_beside_them_are_reaped(make_host: Make) -> None:
    before = zombies()  # Orphans of hosts that other tests have killed come to this sub-reaper, and are none of ours.
    host, recorder = make_host(
        child("ends_a_process_on_the_loop", "async"),
        Child("two", command=["sh", "-c", "exit 7"], restart="temporary"),
        Child("three", command=["sleep", "1000"]),
    )
    with host:
        reason = recorder.wait_for(events.ServiceExited, "tree/two").reason
        assert (reason.kind, reason.exit_code) == ("exit_code", 7)
        assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "returned -15"
        host.service("tree/three").kill()
        reason = recorder.wait_for(events.ServiceExited, "tree/three").reason
        assert reason.signal == 9
        wait_until(lambda: zombies() <= before)


def zombies() -> set[int]:
    """Dead children of any thread of this process. Threads and children may go while we look, and are none then."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            children = (task / "children").read_text().split()
            found |= {int(pid) for pid in children if is_zombie(pid)}
    return found


def is_zombie(pid: str) -> bool:
    try:
        return re.search(r"^State:\s+Z", Path(f"/proc/{pid}/status").read_text(), re.M) is not None
    except OSError:
        return False


# ---- Who keeps the loop ----


@pytest.fixture
def named() -> Iterator[threading.Event]:
    """Who blocks the loop does so until this is set: not before it has been named."""
    event = threading.Event()
    yield event
    event.set()


def test_who_blocks_the_loop_is_named_with_its_stack_meanwhile(make_host: Make, named: threading.Event) -> None:
    async def blocks_until_it_was_named(context: ServiceContext) -> None:
        named.wait(context.ready())  # type: ignore[func-returns-value]  # In one line: it may be looked at in either.
        await asyncio.sleep(3600)

    host, recorder = make_host(child(blocks_until_it_was_named, "async"))
    host.start(wait=False)
    blocked = recorder.wait_for(events.LoopBlocked, "tree/one")
    assert "in blocks_until_it_was_named" in blocked.stack
    assert "named.wait(" in blocked.stack
    named.set()
    recorder.wait_for(events.ServiceStarted, "tree/one")
    host.stop()
    assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "shutdown"


def test_init_that_blocks_the_loop_is_named_too(make_host: Make, named: threading.Event) -> None:
    class BlocksInInit(unirun.Service):
        def __init__(self) -> None:
            named.wait()

        async def run_async(self, context: ServiceContext) -> None:
            context.ready()
            await asyncio.sleep(3600)

    host, recorder = make_host(child(BlocksInInit, "async"))
    host.start(wait=False)
    assert "in __init__" in recorder.wait_for(events.LoopBlocked, "tree/one").stack


def test_a_service_that_computes_for_ever_on_the_loop_loses_it(make_host: Make) -> None:
    host, recorder = make_host(
        child("computes_for_ever", "async", liveness={"kind": "loop_lag", "timeout": 0.3}, restart="temporary"),
        child("waits_somewhere", "async", "two", shutdown="brutal_kill"),
    )
    with host:
        silent = recorder.wait_for(events.ServiceUnresponsive, "tree/one")
        assert silent.probe == "loop_lag"
        reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
        assert reason.kind == "liveness_timeout"
        assert "in computes_for_ever" in recorder.wait_for(events.LoopBlocked, "tree/one").stack
        assert [row.id for row in host["tree"].which_children()] == ["two"]
        assert not recorder.of(events.ServiceExited, "tree/two")


# ---- Who does not end ----


def test_a_thread_that_ignores_its_token_is_interrupted(make_host: Make) -> None:
    host, recorder = make_host(child("ignores_its_token", "thread", shutdown=0.1))
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
    assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "killed"
    assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "struck"


def test_an_interruption_strikes_nothing_but_the_service(make_host: Make) -> None:
    """Each life ends by itself at the very moment when it is killed; had another one been hit, it would say so."""
    lives: list[str] = []

    def short(context: ServiceContext) -> None:
        context.ready()
        end = time.monotonic() + 0.002
        while time.monotonic() < end:
            pass
        lives.append("returned")

    gc.collect()  # The finalizer of an earlier test's host, run in the service's thread, would be struck as well.
    host, recorder = make_host(child(short, "thread"), max_restarts=10_000)
    with host:
        for _ in range(60):
            before = len(lives)
            wait_until(lambda seen=before: len(lives) > seen)  # type: ignore[misc]
            with suppress(unirun.InvalidArgument):  # It has just ended.
                host.service("tree/one").kill()
    kinds = {event.reason.kind for event in recorder.of(events.ServiceExited, "tree/one")}
    assert kinds <= {"normal", "killed", "shutdown"}
    for event in recorder.of(events.ServiceExited, "tree/one"):
        assert event.reason.exception is None


def until_the_attendant_has_come_by(make_host: Make) -> None:
    """Until the thread that takes the GIL on behalf of hosts has done all that it was asked for."""
    has_come = threading.Event()

    def waits(context: ServiceContext) -> None:
        context.cancellation.add_callback(has_come.set)
        context.ready()
        has_come.wait(PATIENCE)

    host, recorder = make_host(child(waits, "thread", shutdown=PATIENCE))
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
    assert has_come.is_set()


@pytest.mark.parametrize("executor", INSIDE)
def test_an_interruption_waits_while_the_import_machinery_is_at_work(make_host: Make, executor: str) -> None:
    """Raised there it would leave the module locked, and whoever imports it next would hang."""
    name = "imported_slowly"
    importing: list[int] = []
    started, asked, struck = threading.Event(), threading.Event(), threading.Event()
    machinery: list[bool] = []

    def imports(context: ServiceContext) -> None:
        context._link.on_interrupt(asked.set)  # type: ignore[attr-defined]
        context.ready()
        importing.append(threading.get_ident())
        try:
            __import__(name)
            while True:
                pass
        except BaseException as error:
            machinery.append(struck_machinery(error))
            struck.set()
            raise

    async def imports_on_the_loop(context: ServiceContext) -> None:
        context.ready()
        while not started.is_set():  # Until the host is there: it takes the loop from it.
            await asyncio.sleep(0.001)
        imports(context)

    # Two seconds, which no single step of a loop takes on a busy machine: it would be struck before it imports.
    target, lag = (imports, None) if executor == "thread" else (imports_on_the_loop, 2.0)
    host, _ = make_host(
        child(target, executor, restart="temporary", liveness=lag and {"kind": "loop_lag", "timeout": lag})
    )
    with SlowModule(name) as module, host:
        started.set()
        try:
            wait_until(lambda: bool(importing))
            wait_until_it_imports(importing[0])
            if executor == "thread":
                host.service("tree/one").kill()
            assert asked.wait(PATIENCE)
            until_the_attendant_has_come_by(make_host)
        finally:
            module.finish.set()
        assert struck.wait(PATIENCE)
    assert machinery == [False]


def test_an_interruption_that_a_finalizer_would_lose_comes_after_it(make_host: Make) -> None:
    asked, finish, finalized = threading.Event(), threading.Event(), threading.Event()

    class Finalized:
        def __init__(self, context: ServiceContext) -> None:
            context._link.on_interrupt(asked.set)  # type: ignore[attr-defined]
            self.context = context

        def __del__(self) -> None:
            self.context.ready()
            finish.wait()
            finalized.set()

    def finalizes(context: ServiceContext) -> None:
        Finalized(context)
        while True:
            pass

    host, recorder = make_host(child(finalizes, "thread", restart="temporary"))
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
        try:
            host.service("tree/one").kill()
            assert asked.wait(PATIENCE)
            until_the_attendant_has_come_by(make_host)
        finally:
            finish.set()
        assert recorder.wait_for(events.ServiceExited, "tree/one")
    assert finalized.is_set()


def test_who_starts_threads_is_interrupted_and_not_the_thread_that_is_being_started(make_host: Make) -> None:
    gc.collect()  # As above.
    host, recorder = make_host(child("starts_threads", "thread"), max_restarts=10_000)
    with host:
        for life in range(1, 31):
            recorder.wait_for(events.ServiceStarted, "tree/one", life)
            host.service("tree/one").kill()
            assert recorder.wait_for(events.ServiceExited, "tree/one", life).reason.kind == "killed"


def test_who_starts_threads_on_the_loop_loses_it_and_no_thread_is_lost(make_host: Make) -> None:
    gc.collect()  # As above.
    lag = {"kind": "loop_lag", "timeout": 0.1}
    host, recorder = make_host(child("starts_threads_on_the_loop", "async", liveness=lag), max_restarts=10_000)
    with host:
        for life in range(1, 6):
            assert recorder.wait_for(events.ServiceExited, "tree/one", life).reason.kind == "liveness_timeout"
        assert recorder.wait_for(events.ServiceStarted, "tree/one", 6)


def test_a_thread_that_ignores_both_is_stuck_and_left(make_host: Make) -> None:
    release = threading.Event()

    def stuck(context: ServiceContext) -> None:
        while not release.is_set():
            try:
                context.ready()  # It may be struck from here on.
                release.wait(3600)
            except BaseException:
                pass

    host, recorder = make_host(child(stuck, "thread", shutdown=0.1))
    begin = time.monotonic()
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
    assert time.monotonic() - begin < PATIENCE
    reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
    assert reason.kind == "stuck"
    assert "in stuck" in reason.stacks
    before = threading.active_count()
    release.set()
    wait_until(lambda: threading.active_count() < before or before == 1)


def test_a_task_that_swallows_its_cancellation_is_stuck_with_where_it_waits(make_host: Make) -> None:
    host, recorder = make_host(child("waits_somewhere", "async", shutdown=0.1))
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
    reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
    assert reason.kind == "stuck"
    assert "in deeper" in reason.stacks


# ---- What is left ----


@pytest.mark.parametrize(("executor", "target"), [("thread", "Metered"), ("async", "leaves_a_task")])
def test_a_host_that_ended_leaves_nothing(make_host: Make, executor: str, target: str) -> None:
    def lead() -> None:
        host, recorder = make_host(child(target, executor, instances=5))
        with host:
            recorder.wait_for(events.SupervisorStarted, "tree")
        recorder.wait_for(events.HostStopped)

    def held() -> tuple[int, int, int]:
        return len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd")), threading.active_count()

    lead()  # The first one makes what stays.
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("unirun-")])
    before = held()
    for _ in range(3):
        lead()
    wait_until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


PROGRAM = """
import sys, unirun
from unirun import Child, Supervisor
children = [Child(str(i), target=target, executor=executor) for i, (target, executor) in enumerate([
    ("inside:Metered", "thread"), ("inside:Metered", "async"), ("inside:waits_somewhere", "async"),
    ("shapes:spins_for_ever", "thread"), ("shapes:sleeps_for_ever", "thread")])]
host = unirun.Host([Supervisor("tree", children=children)], state_dir=sys.argv[1], runtime_dir=sys.argv[1],
                   control=False, journal=False)
host.start()
print("runs", flush=True)
"""


def test_a_program_that_just_ends_takes_them_along(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", PROGRAM, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": f"{PACKAGE}:{TARGETS}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "runs\n"), done.stderr
    assert "Fatal Python error" not in done.stderr


def test_a_lambda_is_a_service(make_host: Make) -> None:
    host, recorder = make_host(child(lambda context: context.ready(), "thread", restart="temporary"))
    with host:
        assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "normal"
