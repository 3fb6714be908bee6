"""Workers forked from a template process, and standbys, against real processes."""

from __future__ import annotations

import gc
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest

import unirun
from recorder import Recorder
from unirun import Child, events

pytestmark = pytest.mark.native

PATIENCE = 30.0
READY = {"kind": "notify"}
MakeHost = Callable[..., tuple[unirun.Host, Recorder]]


def eventually(true_by_now: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (value := true_by_now()) and time.monotonic() < deadline:
        time.sleep(0.005)
    return value


def lines(host: unirun.Host, path: str) -> list[str]:
    return [line["text"] for line in host.logs(path, tail=200)]


def told(host: unirun.Host, path: str) -> dict[str, Any]:
    """What forked:tell said last."""
    found = eventually(lambda: [line for line in lines(host, path) if line.startswith("{")])
    return dict(json.loads(found[-1]))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])


def workers(of: int | None = None) -> list[int]:
    """Living children of this process that run unirun's worker: templates, workers and standbys."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            pid = int(entry.name)
            command = (entry / "cmdline").read_bytes()
            if parent_of(pid) == (of or os.getpid()) and b"unirun.worker" in command:
                found.append(pid)
        except OSError:
            continue
    return sorted(found)


def is_alive(pid: int) -> bool:
    """A zombie is not: inside a foreign program what was adopted may be that program's to reap."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def is_template(pid: int) -> bool:
    """By its mark: workers have written the number of their run over it."""
    try:
        return b"UNIRUN_RUN=template" in Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False


def templates() -> list[int]:
    return [pid for pid in workers() if is_template(pid)]


def listens(pid: int) -> bool:
    """Whether a worker has nothing to do but wait for the host's word."""
    return "poll" in Path(f"/proc/{pid}/wchan").read_text()


def pid_of(recorder: Recorder, path: str, count: int = 1) -> int:
    started = recorder.wait_for(events.ServiceStarted, path, count)
    assert started.pid > 1, started  # It will be killed, and 0 would be ourselves.
    return started.pid


def test_a_forked_worker_is_a_child_of_the_host_with_everything_of_its_own(make_host: MakeHost, tmp_path: Path) -> None:
    host, recorder = make_host(
        Child(
            "w",
            target="forked:tell",
            instances=2,
            readiness=READY,
            cwd=tmp_path,
            env={"OWN": "own", "PLACE": "{instance}"},
        )
    )
    with host:
        one, two = told(host, "tree/w-1"), told(host, "tree/w-2")
        for each, path in ((one, "tree/w-1"), (two, "tree/w-2")):
            assert not each["imported_here"]  # The template imported it.
            assert each["parent"] == os.getpid()
            assert each["pid"] == each["group"] == pid_of(recorder, path)
            assert each["argv"] == "worker.py"
            assert each["main"] == "__main__"
            assert each["stdin"] == "/dev/null"
            assert each["blocked"] == 0
            assert each["main_thread"]
            assert each["hidden"] == []
            assert each["cwd"] == str(tmp_path)
            assert each["env"]["OWN"] == "own"
            launch = each["env"]["UNIRUN_LAUNCH"]
            assert f"UNIRUN_LAUNCH={launch:0>20}" in each["marks"]  # What sweeper and guard look for.
            assert len(each["marks"]) == 2
            assert eventually(lambda path=path: "to stderr" in lines(host, path))  # type: ignore[misc]
        assert (one["env"]["PLACE"], two["env"]["PLACE"]) == ("1", "2")
        assert one["random"] != two["random"]
        assert one["env"]["UNIRUN_RUN"] != two["env"]["UNIRUN_RUN"]
        assert len(one["descriptors"]) == len(two["descriptors"]) <= 6
        assert len(templates()) == 1
    assert workers() == []


def test_fresh_opts_out(make_host: MakeHost) -> None:
    host, _ = make_host(Child("w", target="forked:tell", readiness=READY, start="fresh"))
    with host:
        assert told(host, "tree/w")["imported_here"]
        assert templates() == []


def test_a_service_that_needs_no_readiness_has_its_pid_when_it_is_said_to_run(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="forked:wait"))
    with host:
        started = recorder.wait_for(events.ServiceStarted, "tree/w")
        assert started.pid in workers()


def test_a_crash_brings_its_traceback_and_a_signal_its_stacks(make_host: MakeHost) -> None:
    host, recorder = make_host(
        Child("raises", target="forked:crash", readiness=READY, restart="temporary"),
        Child("faults", target="forked:segfault", readiness=READY, restart="temporary"),
    )
    with host:
        raised = recorder.wait_for(events.ServiceExited, "tree/raises").reason
        assert raised.exception is not None
        assert raised.exception.type == "RuntimeError"
        assert raised.exception.traceback.count("forked.py") == 1
        assert "_template" not in raised.exception.traceback
        faulted = recorder.wait_for(events.ServiceExited, "tree/faults").reason
        assert faulted.signal == signal.SIGSEGV
        assert "forked.py" in str(faulted.stacks)


def test_what_imports_registered_at_exit_runs_in_workers_and_not_in_the_template(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="forked:once", restart="transient"))
    with host:
        recorder.wait_for(events.ServiceExited, "tree/w")
        assert eventually(lambda: lines(host, "tree/w") == ["ran False", "at exit True"]), lines(host, "tree/w")


def test_multiprocessing_works_in_a_forked_worker(make_host: MakeHost) -> None:
    host, recorder = make_host(
        Child("w", target="forked:pool", restart="transient", preload=["multiprocessing", "forked"])
    )
    with host:
        assert recorder.wait_for(events.ServiceExited, "tree/w").reason.kind == "normal"
        assert eventually(lambda: "pool [3]" in lines(host, "tree/w"))


def test_a_preload_that_fails_is_named_with_its_traceback_and_the_service_starts_fresh(
    make_host: MakeHost, tmp_path: Path
) -> None:
    (tmp_path / "unlucky.py").write_text("import os\nraise ValueError('no luck')\n")
    host, recorder = make_host(
        Child("w", target="forked:tell", readiness=READY, preload=["unlucky"], cwd=tmp_path),
    )
    with host:
        assert told(host, "tree/w")["imported_here"]
        warning = recorder.wait_for(events.Warning, "tree/w").what
        assert "'unlucky'" in warning
        assert "no luck" in warning
        assert 'unlucky.py", line 2' in warning


def test_a_thread_that_an_import_starts_is_named_and_the_service_starts_fresh(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="with_thread:wait", readiness=READY))
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/w")
        warning = recorder.wait_for(events.Warning, "tree/w").what
        assert "'with_thread'" in warning
        assert "forever" in warning
        assert eventually(lambda: "here True" in lines(host, "tree/w"))


def test_a_file_that_changed_is_imported_again(make_host: MakeHost, tmp_path: Path) -> None:
    module = tmp_path / "changing.py"
    source = """def main(context):
    print("version", {}, flush=True)
    context.ready()
    context.cancellation.wait()
"""
    module.write_text(source.format(1))
    host, recorder = make_host(Child("w", target="changing:main", readiness=READY, cwd=tmp_path))
    with host:
        first = pid_of(recorder, "tree/w")
        [template] = templates()
        (tmp_path / "new.py").write_text(source.format(22))
        (tmp_path / "new.py").rename(module)
        os.kill(first, signal.SIGKILL)
        recorder.wait_for(events.ServiceStarted, "tree/w", 2)
        assert eventually(lambda: lines(host, "tree/w")[-1:] == ["version 22"]), lines(host, "tree/w")
        assert templates() != [template]


def test_a_template_that_is_killed_is_replaced_and_nothing_else_notices(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="forked:tell", readiness=READY))
    with host:
        first = pid_of(recorder, "tree/w")
        [template] = templates()
        os.kill(template, signal.SIGKILL)
        os.kill(first, signal.SIGKILL)
        second = pid_of(recorder, "tree/w", 2)
        assert eventually(lambda: [pid for pid in templates() if pid not in (template, first, second)])
        os.kill(second, signal.SIGKILL)
        recorder.wait_for(events.ServiceStarted, "tree/w", 3)
        assert eventually(lambda: lines(host, "tree/w").count("to stderr") == 3)
        assert not told(host, "tree/w")["imported_here"]


def test_a_template_that_hangs_is_killed_and_the_service_starts_fresh(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="forked:tell", readiness=READY))
    with host:
        first = pid_of(recorder, "tree/w")
        [template] = templates()
        os.kill(template, signal.SIGSTOP)
        os.kill(first, signal.SIGKILL)
        recorder.wait_for(events.ServiceStarted, "tree/w", 2)
        assert eventually(lambda: told(host, "tree/w")["imported_here"])


def test_stops_while_the_template_still_imports(make_host: MakeHost, tmp_path: Path) -> None:
    (tmp_path / "slow.py").write_text("import time\ntime.sleep(3600)\n")
    host, recorder = make_host(
        Child("w", target="forked:wait", preload=["slow"], cwd=tmp_path, shutdown=3600), auto_shutdown="never"
    )
    began = time.monotonic()
    host.start(wait=False)
    recorder.wait_for(events.ServiceStarting, "tree/w")
    host.stop()
    assert time.monotonic() - began < PATIENCE
    assert workers() == []


def test_descendants_of_a_forked_worker_end_with_it(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="forked:forks", readiness=READY, restart="temporary"))
    with host:
        pid = pid_of(recorder, "tree/w")
        descendants = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        assert len(descendants) == 2
        os.kill(pid, signal.SIGKILL)
        recorder.wait_for(events.ServiceExited, "tree/w")
        assert eventually(lambda: not any(map(is_alive, descendants)))


def test_many_restarts_leave_no_descriptor_in_template_and_host(make_host: MakeHost) -> None:
    restarts = int(os.environ.get("UNIRUN_TEST_RESTARTS", "100"))
    host, recorder = make_host(Child("w", target="forked:wait", readiness=READY), max_restarts=1_000_000, period=1)

    def open_in(pid: int) -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with host:
        os.kill(pid_of(recorder, "tree/w"), signal.SIGKILL)
        pid = pid_of(recorder, "tree/w", 2)
        [template] = [each for each in templates() if each != pid]
        gc.collect()
        before = open_in(template), open_in(os.getpid())
        for count in range(3, restarts + 3):
            os.kill(pid, signal.SIGKILL)
            pid = pid_of(recorder, "tree/w", count)
        # Fewer are no leak: this process has some of earlier tests, which may go meanwhile.
        assert eventually(lambda: open_in(template) <= before[0] and open_in(os.getpid()) <= before[1]), (
            before,
            open_in(template),
            open_in(os.getpid()),
        )
        assert not recorder.of(events.Warning)


# ---- Standbys ----


@pytest.mark.parametrize("after", ["death", "reaped"])
def test_a_standby_takes_over(make_host: MakeHost, after: Literal["death", "reaped"]) -> None:
    host, recorder = make_host(Child("w", target="forked:tell", readiness=READY, standby=2, standby_after=after))
    with host:
        first = pid_of(recorder, "tree/w")
        standbys = eventually(lambda: (found := set(workers()) - {first, *templates()}) and len(found) == 2 and found)
        assert standbys
        assert eventually(lambda: lines(host, "tree/w").count("to stderr") == 1)
        # One that does not wait yet is not taken: until they have said so, and two turns of the loop later.
        assert eventually(lambda: all(map(listens, standbys)))
        assert lines(host, "tree/w").count("to stderr") == 1  # They wait.
        for _ in range(2):
            host["tree"].which_children()
        os.kill(first, signal.SIGKILL)
        second = pid_of(recorder, "tree/w", 2)
        assert second in standbys
        exited = recorder.wait_for(events.ServiceExited, "tree/w")
        assert exited.reason.signal == signal.SIGKILL
        assert eventually(lambda: lines(host, "tree/w").count("to stderr") == 2)
        assert told(host, "tree/w")["pid"] == second
        assert eventually(lambda: len(set(workers()) - {second, *templates()}) == 2)
        host["tree"].terminate_child("w")
        assert eventually(lambda: not set(workers()) - set(templates()))
    assert workers() == []


def test_a_standby_whose_service_ends_normally_takes_over_too(make_host: MakeHost) -> None:
    host, recorder = make_host(Child("w", target="forked:once", standby=1), max_restarts=3, period=10)
    with host:
        recorder.wait_for(events.ServiceExited, "tree/w", 3)
        assert all(ended.reason.kind == "normal" for ended in recorder.of(events.ServiceExited, "tree/w")[:3])


def test_standbys_without_a_template_are_refused() -> None:
    with pytest.raises(unirun.InvalidConfiguration, match="standbys are forked from a template"):
        unirun.Host([unirun.Supervisor("t", children=[Child("w", target="forked:wait", start="fresh", standby=1)])])
    with pytest.raises(unirun.InvalidConfiguration, match='"preload" is for a "python" target'):
        unirun.Host([unirun.Supervisor("t", children=[Child("w", command=["true"], preload=["json"])])])
