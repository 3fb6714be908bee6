"""Host, Supervisor and Child against real processes."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import unirun
from recorder import PATIENCE, Make, Recorder
from unirun import Child, Supervisor, events
from worker_host import PACKAGE, TARGETS

pytestmark = pytest.mark.native


def steady(name: str = "one", **members: Any) -> Child:
    return Child(name, target="jobs:Steady", readiness={"kind": "notify"}, **members)


# ---- Its life ----


def test_starts_and_stops_a_tree(make_host: Make) -> None:
    host, recorder = make_host(steady("one"), steady("two"))
    with host:
        assert host.wait(0) is None
        pids = [child.pid for child in host["tree"].which_children()]
        assert all(pid is not None and os.path.exists(f"/proc/{pid}") for pid in pids)
    assert host.exit_code == 0
    assert host.wait() == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    recorder.wait_for(events.HostStopped)
    starts = [event.path for event in recorder.of(events.ServiceStarted)]
    stops = [event.path for event in recorder.of(events.ServiceExited)]
    assert starts.index("tree/one") < starts.index("tree/two")
    assert stops.index("tree/two") < stops.index("tree/one")


def test_events_come_in_sequence_from_the_first(make_host: Make) -> None:
    host, recorder = make_host(steady())
    with host:
        pass
    recorder.wait_for(events.HostStopped)
    numbers = [event.sequence for event in recorder.events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert isinstance(recorder.events[0], events.HostStarted)


def test_a_command_that_is_not_there_is_refused_before_anything_starts(make_host: Make) -> None:
    with pytest.raises(unirun.InvalidConfiguration, match="/no/such/program"):
        make_host(steady("good"), Child("bad", command=["/no/such/program"]))


def test_a_service_that_ends_before_it_is_ready_is_a_failed_start(make_host: Make) -> None:
    host, recorder = make_host(steady("good"), Child("bad", target="jobs:exits_at_once", readiness={"kind": "notify"}))
    with pytest.raises(unirun.StartFailed, match="bad"):
        host.start()
    assert host.wait(PATIENCE) == 3
    good = recorder.wait_for(events.ServiceStarted, "tree/good")
    assert not os.path.exists(f"/proc/{good.pid}")


def test_a_tree_with_faults_is_refused_with_all_of_them(make_host: Make) -> None:
    with pytest.raises(unirun.InvalidConfiguration) as caught:
        make_host(
            Child("a", command=["true"], restart="always"),  # type: ignore[arg-type]
            Child("a", command=["true"], colour="red"),
        )
    pointers = {fault["pointer"] for fault in caught.value.faults}
    assert "/supervisors/0/children/0/restart" in pointers
    assert any("colour" in str(fault) for fault in caught.value.faults)
    assert "permanent" in str(caught.value)


def test_a_second_host_in_the_same_place_is_refused(make_host: Make) -> None:
    first, _ = make_host(steady(), control=True)
    with first:
        second = unirun.Host(
            [Supervisor("tree", children=[steady()])],
            name="test-0",
            state_dir=os.path.dirname(first.socket_path) + "/../state",
            runtime_dir=os.path.dirname(first.socket_path),
            python_path=[str(PACKAGE), str(TARGETS)],
        )
        with pytest.raises(unirun.UnirunError, match=str(os.getpid())):
            second.start()
        assert first.wait(0) is None


def test_an_ended_host_says_so(make_host: Make) -> None:
    host, _ = make_host(steady())
    with host:
        pass
    with pytest.raises(unirun.HostUnreachable):
        host.status()


def test_a_tree_that_ends_by_itself_ends_the_host(make_host: Make) -> None:
    host, _ = make_host(
        Child("one", target="jobs:Finite", restart="transient", significant=True, readiness={"kind": "notify"}),
        auto_shutdown="any_significant",
        restart="transient",
        significant=True,
        root={"auto_shutdown": "any_significant"},
    )
    host.start(wait=False)
    assert host.wait(PATIENCE) == 0


def test_from_file_reads_a_configuration(tmp_path: Path) -> None:
    config = tmp_path / "small.json"
    config.write_text(
        json.dumps(
            {
                "host": {"state_dir": "state", "runtime_dir": "run"},
                "supervisors": [{"id": "tree", "children": [{"id": "one", "command": ["sleep", "1000"]}]}],
            }
        )
    )
    with unirun.Host.from_file(config, control=False, journal=False) as host:
        assert [child.id for child in host["tree"].which_children()] == ["one"]


def test_from_file_tells_the_line_of_a_fault(tmp_path: Path) -> None:
    config = tmp_path / "bad.json"
    config.write_text('{\n  "supervisors": [],\n  "colour": 1\n}')
    with pytest.raises(unirun.InvalidConfiguration, match="line 3"):
        unirun.Host.from_file(config)
    with pytest.raises(unirun.InvalidConfiguration, match=r"nowhere\.json"):
        unirun.Host.from_file(tmp_path / "nowhere.json")


# ---- How services end ----


def test_an_exception_arrives_with_its_traceback(make_host: Make, tmp_path: Path) -> None:
    host, recorder = make_host(
        Child("one", target="jobs:Failing", config={"file": str(tmp_path / "lives"), "failures": 2})
    )
    with host:
        reason = recorder.wait_for(events.ServiceExited, "tree/one", 2).reason
    assert reason.kind == "exception"
    assert reason.exception is not None
    assert (reason.exception.type, reason.exception.message) == ("ValueError", "life 1")
    assert "in run" in reason.exception.traceback


def test_a_segfault_arrives_with_every_threads_stack(make_host: Make, tmp_path: Path) -> None:
    host, recorder = make_host(
        Child(
            "one",
            target="jobs:Segfaulting",
            config={"file": str(tmp_path / "once")},
            readiness={"kind": "notify"},
        )
    )
    with host:
        reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
        recorder.wait_for(events.ServiceStarted, "tree/one", 2)
    assert (reason.kind, reason.signal) == ("signal", signal.SIGSEGV)
    assert "Segmentation fault" in reason.stacks
    assert "jobs.py" in reason.stacks


def test_a_hang_is_found_by_its_heartbeat_and_shows_where(make_host: Make, tmp_path: Path) -> None:
    host, recorder = make_host(
        Child(
            "one",
            target="jobs:Hanging",
            config={"file": str(tmp_path / "once")},
            readiness={"kind": "notify"},
            liveness={"kind": "heartbeat", "timeout": 0.3},
        )
    )
    with host:
        recorder.wait_for(events.ServiceUnresponsive, "tree/one")
        reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
        recorder.wait_for(events.ServiceStarted, "tree/one", 2)
    assert reason.kind == "liveness_timeout"
    assert "jobs.py" in reason.stacks


def test_a_deaf_service_is_killed_after_its_time(make_host: Make) -> None:
    host, recorder = make_host(Child("one", target="jobs:Deaf", readiness={"kind": "notify"}, shutdown=0.1))
    with host:
        pass
    assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "killed"


def test_a_supervisor_gives_up(make_host: Make, tmp_path: Path) -> None:
    host, recorder = make_host(
        Child("one", target="jobs:Failing", config={"file": str(tmp_path / "lives"), "failures": 99}),
        max_restarts=2,
    )
    host.start()
    assert host.wait(PATIENCE) == 1
    gave_up = recorder.wait_for(events.SupervisorGaveUp)
    assert (gave_up.child, gave_up.max_restarts, gave_up.period) == ("one", 2, 10.0)


def test_output_logs_and_status_are_kept(make_host: Make) -> None:
    host, recorder = make_host(Child("one", target="jobs:Counting", arguments=[1, "a"], readiness={"kind": "notify"}))
    with host:
        log = recorder.wait_for(events.ServiceLog, "tree/one")
        recorder.wait_for(events.ServiceStatusText, "tree/one")
        assert log.message == "argument (1, 'a')"
        assert log.level == "INFO"
        service = host.service("tree/one")
        assert service.status()["status"] == "counting"
        while len(service.logs()) < 2:  # The printed line travels by a pipe of its own.
            pass
        assert {line["stream"]: line["text"] for line in service.logs()} == {
            "stdout": "printed",
            "log": "INFO tree.one: argument (1, 'a')",
        }


# ---- OTP's calls ----


def test_children_come_and_go_by_otps_calls(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    with host:
        tree = host["tree"]
        two = tree.start_child(steady("two"))
        assert (two.id, two.path, two.state, two.type) == ("two", "tree/two", "running", "worker")
        assert [child.id for child in tree.which_children()] == ["two", "one"]
        assert tree.which_child("two") == tree.which_child(two) == two
        with pytest.raises(unirun.AlreadyStarted):
            tree.start_child(steady("two"))
        with pytest.raises(unirun.ChildRunning):
            tree.delete_child("two")
        with pytest.raises(unirun.ChildRunning):
            tree.restart_child("two")
        tree.terminate_child("two")
        with pytest.raises(unirun.AlreadyPresent):
            tree.start_child(steady("two"))
        assert tree.which_child("two").pid is None
        counts = tree.count_children()
        assert (counts.specs, counts.active, counts.supervisors, counts.workers) == (2, 1, 0, 2)
        again = tree.restart_child("two")
        assert again.run != two.run
        tree.terminate_child("two")
        tree.delete_child("two")
        for call in (tree.terminate_child, tree.delete_child, tree.restart_child, tree.which_child, tree.get_childspec):
            with pytest.raises(unirun.NotFound):
                call("two")


def test_get_childspec_fills_in_every_default(make_host: Make) -> None:
    host, _ = make_host(steady("one", config={"batch": 5}))
    with host:
        spec = host["tree"].get_childspec("one")
    assert (spec["id"], spec["restart"], spec["shutdown"], spec["significant"]) == ("one", "permanent", "5s", False)
    assert spec["python"] == "jobs:Steady"
    assert spec["config"] == {"batch": 5}


def test_a_dynamic_supervisor_starts_children_with_arguments(make_host: Make) -> None:
    host, recorder = make_host(
        Child("job", target="jobs:Counting", readiness={"kind": "notify"}, arguments=["template"]),
        strategy="simple_one_for_one",
    )
    with host:
        tree = host["tree"]
        child = tree.start_child(arguments=["extra", 7])
        assert recorder.wait_for(events.ServiceLog, child.path).message == "argument ('template', 'extra', 7)"
        with pytest.raises(unirun.SimpleOneForOne):
            tree.delete_child(child)
        tree.terminate_child(child)
        assert tree.count_children().active == 0


def test_a_faulty_child_is_refused_and_nothing_kept(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    with host:
        with pytest.raises((unirun.InvalidConfiguration, unirun.InvalidChildSpec)):
            host["tree"].start_child({"id": "bad", "command": ["true"], "restart": "always"})
        with pytest.raises(unirun.StartFailed):
            host["tree"].start_child(Child("bad", target="jobs:exits_at_once", readiness={"kind": "notify"}))
        assert [child.id for child in host["tree"].which_children()] == ["one"]


def test_a_path_that_is_not_there_is_told_at_once(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    with host:
        with pytest.raises(unirun.NotFound):
            host["nowhere"]
        with pytest.raises(KeyError, match="did you mean"):
            host.service("tree/onne")


def test_a_service_is_killed_stopped_started_and_restarted(make_host: Make) -> None:
    host, recorder = make_host(steady("one"))
    with host:
        service = host.service("tree/one")
        before = service.status()["pid"]
        service.kill()
        recorder.wait_for(events.ServiceStarted, "tree/one", 2)
        after = service.status()
        assert after["pid"] != before
        assert after["restarts"] == 1
        service.stop()
        assert service.status()["state"] == "stopped"
        service.start()
        service.restart()
        assert service.status()["state"] == "running"
        assert service.status()["restarts"] == 1  # Commands do not count.
        assert service.why()["deaths"]


def test_a_supervisor_with_instances_below_it_is_one_child(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    with host:
        added = host["tree"].start_child(Supervisor("more", children=[steady("many", instances=2)]))
        assert (added.id, added.type) == ("more", "supervisor")
        assert [child.state for child in host["tree/more"].which_children()] == ["running"] * 2
        assert host["tree"].start_child(steady("few", instances=2)).id == "few-1"
        assert len(host.service("tree/few").scale(1)) == 1


def test_instances_answer_together_and_can_be_scaled(make_host: Make) -> None:
    host, _ = make_host(steady("one", instances=2))
    with host:
        group = host.service("tree/one")
        assert [one["id"] for one in group.scale(3)] == ["one-1", "one-2", "one-3"]
        assert len(host["tree"].which_children()) == 3


def test_queries_are_answered_while_a_child_starts_slowly(make_host: Make) -> None:
    host, recorder = make_host(Child("slow", target="jobs:NeverReady", readiness={"kind": "notify"}))
    host.start(wait=False)
    recorder.wait_for(events.ServiceStarting, "tree/slow")
    assert host.service("tree/slow").status()["state"] == "starting"
    host.stop()


def test_two_threads_cannot_start_a_child_twice(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    with host:
        tree = host["tree"]
        tree.terminate_child("one")
        outcomes: list[str] = []

        def restart() -> None:
            try:
                outcomes.append(tree.restart_child("one").state)
            except unirun.UnirunError as error:
                outcomes.append(error.code)

        threads = [threading.Thread(target=restart) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outcomes) == ["running"] * 4  # One handle in the state `running`, three errors of that code.
        assert tree.count_children().active == 1


# ---- Events ----


def test_subscribers_choose_kinds_and_leave(make_host: Make) -> None:
    host, recorder = make_host(steady("one"))
    chosen, left = Recorder(), Recorder()
    host.events.subscribe(chosen, kinds=[events.ServiceExited, "host_stopped"])
    subscription = host.events.subscribe(left)
    subscription.close()
    with host:
        pass
    chosen.wait_for(events.HostStopped)
    recorder.wait_for(events.HostStopped)
    assert {event.kind for event in chosen.events} == {"service_exited", "host_stopped"}
    assert left.events == []


def test_an_unknown_kind_is_refused(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    with pytest.raises(ValueError, match="service_exitd"):
        host.events.subscribe(print, kinds=["service_exitd"])


def test_a_subscriber_that_raises_is_taken_off_and_harms_nobody(
    make_host: Make, caplog: pytest.LogCaptureFixture
) -> None:
    host, recorder = make_host(steady("one"))

    def fails(event: events.Event) -> None:
        raise ValueError(event.kind)

    subscription = host.events.subscribe(fails)
    with host:
        assert subscription.join(PATIENCE)
    recorder.wait_for(events.HostStopped)
    assert "is taken off" in caplog.text
    assert caplog.text.count("ValueError: host_started") == 1


def test_a_slow_subscriber_loses_events_and_holds_nobody_up(make_host: Make) -> None:
    host, recorder = make_host(steady("one"))
    gate = threading.Event()
    subscription = host.events.subscribe(lambda _: gate.wait(PATIENCE), capacity=2)
    with host:
        for _ in range(5):
            host.service("tree/one").restart()
        assert subscription.dropped > 0
    gate.set()
    recorder.wait_for(events.HostStopped)


def test_iteration_ends_with_the_host(make_host: Make) -> None:
    host, _ = make_host(steady("one"))
    iterator = host.events.iterate()
    with host:
        pass
    kinds = [event.kind for event in iterator]
    assert kinds[0] == "host_started"
    assert kinds[-1] == "host_stopped"


def test_async_iteration_ends_with_the_host(make_host: Make) -> None:
    host, _ = make_host(steady("one"))

    async def watch() -> list[str]:
        kinds = []
        async for event in host.events:
            kinds.append(event.kind)
            if isinstance(event, events.HostStarted):
                await asyncio.to_thread(host.stop)
        return kinds

    async def both() -> list[str]:
        watching = asyncio.ensure_future(watch())
        await asyncio.sleep(0)  # The stream is open before the host starts.
        await asyncio.to_thread(host.start, wait=False)
        return await asyncio.wait_for(watching, PATIENCE)

    assert asyncio.run(both())[-1] == "host_stopped"


# ---- The program around it ----

PROGRAM = """
import sys, threading
from unirun import Child, Host, Supervisor
host = Host([Supervisor("tree", children=[Child("one", command=["sleep", "1000"])])],
            name="program", state_dir=sys.argv[1], runtime_dir=sys.argv[1], control=False, journal=False)
host.events.subscribe(lambda event: None)
host.start()
print(host["tree"].which_child("one").pid, flush=True)
"""


def run_program(tmp_path: Path, tail: str) -> tuple[subprocess.Popen[str], int]:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM + tail, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert program.stdout is not None
    return program, int(program.stdout.readline())


def finish(program: subprocess.Popen[str]) -> tuple[str, str]:
    """What is left of its output, and of its errors.

    Not by communicate(), which loses what readline() has taken from the pipe beyond its line.
    """
    with program:
        assert program.stdout is not None
        assert program.stderr is not None
        return program.stdout.read(), program.stderr.read()


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # It ended, and whoever adopted it has not looked yet.


def wait_until_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} is still there"


@pytest.mark.parametrize(
    ("tail", "code", "said"),
    [
        ("", 0, ""),
        ("sys.exit(5)", 5, ""),
        ("raise ValueError('mine')", 1, "ValueError: mine"),
        ("del host", 0, ""),
        ("threading.Thread(target=host.wait, daemon=True).start()", 0, ""),
    ],
)
def test_a_program_that_ends_takes_its_services_along(tmp_path: Path, tail: str, code: int, said: str) -> None:
    program, pid = run_program(tmp_path, tail)
    _, err = finish(program)
    assert program.returncode == code, err
    assert err.strip().endswith(said)
    assert not os.path.exists(f"/proc/{pid}")


def test_ctrl_c_ends_the_wait_at_once(tmp_path: Path) -> None:
    program, pid = run_program(tmp_path, "print('waiting', flush=True)\nhost.wait()")
    assert program.stdout is not None
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    _, err = finish(program)
    assert "KeyboardInterrupt" in err
    assert not os.path.exists(f"/proc/{pid}")


def test_ctrl_c_ends_a_loop_over_events_at_once(tmp_path: Path) -> None:
    program, pid = run_program(tmp_path, "print('waiting', flush=True)\nfor event in host.events: pass")
    assert program.stdout is not None
    program.stdout.readline()
    program.send_signal(signal.SIGINT)
    _, err = finish(program)
    assert "KeyboardInterrupt" in err
    assert not os.path.exists(f"/proc/{pid}")


FORK = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Of 3.12 and later, which says what we test.
child = os.fork()
if child == 0:
    try:
        host.status()
    except ConnectionError as error:
        print(error)
    sys.exit(7)  # With every exit handler that it has inherited.
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), host["tree"].which_child("one").state)
"""


def test_a_fork_of_the_program_neither_hangs_nor_ends_the_services(tmp_path: Path) -> None:
    program, _ = run_program(tmp_path, FORK)
    out, err = finish(program)
    assert (program.returncode, err) == (0, "")
    assert len(out.splitlines()) == 2, out
    refused, survived = out.splitlines()
    assert "this is a fork of it" in refused
    assert survived == "7 running"


def test_a_service_that_declines_stays_without_a_process(make_host: Make) -> None:
    host, recorder = make_host(Child("one", target="jobs:Declining", readiness={"kind": "notify"}), steady("two"))
    with host:
        one = host["tree"].which_child("one")
        assert (one.pid, one.run) == (None, None)
        assert host["tree"].which_child("two").state == "running"
    recorder.wait_for(events.HostStopped)


def test_a_killed_program_leaves_no_service(tmp_path: Path) -> None:
    program, pid = run_program(tmp_path, "host.wait()")
    program.kill()
    program.communicate()
    wait_until_gone(pid)


def test_a_computing_program_does_not_hold_supervision_up(make_host: Make, tmp_path: Path) -> None:
    """The loop thread never takes the GIL: a death is answered while Python holds it."""
    once, again = tmp_path / "once", tmp_path / "again"
    life = 'if [ -e "$0" ]; then : > "$1"; else : > "$0"; fi; exec sleep 1000'
    host, recorder = make_host(Child("one", command=["sh", "-c", life, str(once), str(again)]))
    with host:
        deadline = time.monotonic() + PATIENCE
        while not once.exists():
            assert time.monotonic() < deadline
        pid = host["tree"].which_child("one").pid
        assert pid is not None
        access, path = ctypes.PyDLL(None).access, os.fsencode(again)  # Looks without giving the GIL away.
        before = sys.getswitchinterval()
        sys.setswitchinterval(10 * PATIENCE)  # This thread keeps the GIL from here on.
        try:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + PATIENCE
            while (lives_again := access(path, os.F_OK) == 0) is False and time.monotonic() < deadline:
                pass
        finally:
            sys.setswitchinterval(before)
        assert lives_again
        recorder.wait_for(events.ServiceStarted, "tree/one", 2)
