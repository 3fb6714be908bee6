"""The worker runtime, alone: each test is the host at the other end of the control channel."""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from unirun._channel import Channel
from worker_host import PACKAGE, Frame, WorkerHost

Start = Callable[..., WorkerHost]


def texts(frames: list[Frame]) -> list[str]:
    return [frame["text"] for frame in frames if frame["type"] == "status"]


# ---- Targets ----


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("forms:with_context", "tree/one one None {}"),
        ("forms:typed", "typed"),
        ("forms:with_any", "any []"),
        ("forms:callable_object", "called"),
        ("forms:bound_method", "method"),
        ("forms:Nested.Inner", "inner"),
        ("forms:async_returns", "async done"),
        ("forms:uses_threads", "[0, 1, 4, 9]"),
        ("forms:uses_processes", "[0, 1, 4, 9]"),
        ("forms:uses_threads_async", "25"),
        ("beside/script.py:main", "__mp_main__ neighbour no guard"),
        ("beside/script.py:with_pool", "[9]"),
    ],
)
def test_runs_every_form_of_target(start_worker: Start, target: str, said: str) -> None:
    worker = start_worker(target)
    assert texts(list(worker.frames())) == [said]
    code, _, err = worker.finish()
    assert (code, err) == (0, "")


@pytest.mark.parametrize("target", ["without_context", "decorated"])
def test_calls_a_function_without_parameters_without_context(start_worker: Start, target: str) -> None:
    worker = start_worker(f"forms:{target}")
    assert worker.finish()[:2] == (0, "ran\n" if target == "without_context" else "decorated\n")


def test_hands_over_what_the_tree_says(start_worker: Start) -> None:
    worker = start_worker("forms:with_context", id="two", instance=2, config={"batch": [1, "a"]})
    assert texts(list(worker.frames())) == ["tree/one two 2 {'batch': [1, 'a']}"]


def test_passes_arguments_after_the_context(start_worker: Start) -> None:
    worker = start_worker("forms:with_arguments", arguments=["a", 2])
    assert texts(list(worker.frames())) == ["a 2"]


def test_a_partial_keeps_its_own_arguments(start_worker: Start) -> None:
    assert texts(list(start_worker("forms:partly").frames())) == ["a b"]


def test_the_environment_of_the_service_shows_no_descriptors(start_worker: Start) -> None:
    assert texts(list(start_worker("forms:environment").frames())) == ["[]"]


@pytest.mark.parametrize(
    ("target", "type_", "message"),
    [
        ("nowhere:main", "unirun.errors.TargetError", "no module named 'nowhere'"),
        ("forms.deeper:main", "unirun.errors.TargetError", "no module named 'forms.deeper'"),
        ("forms:polite", "unirun.errors.TargetError", "did you mean 'Polite'?"),
        ("forms:Nested.Innr", "unirun.errors.TargetError", "has no 'Innr'; did you mean 'Inner'?"),
        ("forms", "unirun.errors.TargetError", 'expected "module:attribute"'),
        ("forms:", "unirun.errors.TargetError", 'expected "module:attribute"'),
        ("forms:a b", "unirun.errors.TargetError", 'expected "module:attribute"'),
        ("a b:main", "unirun.errors.TargetError", "'a b' is not the name of a module"),
        ("nowhere.py:main", "unirun.errors.TargetError", "nowhere.py: No such file"),
        ("forms:not_callable", "unirun.errors.TargetError", "found int"),
        ("forms:NotAService", "unirun.errors.TargetError", "not a subclass of unirun.Service"),
        ("forms:Neither", "NotImplementedError", "Neither overrides neither run nor run_async"),
        ("forms:wrong_flavor", "ValueError", "'fibers' is not one of auto, threads, processes"),
        ("broken_import:main", "ModuleNotFoundError", "No module named 'no_such_dependency'"),
        ("broken_syntax:main", "SyntaxError", "invalid syntax"),
    ],
)
def test_says_what_is_wrong_with_a_target(start_worker: Start, target: str, type_: str, message: str) -> None:
    worker = start_worker(target)
    frames = list(worker.frames())
    assert [frame["type"] for frame in frames] == ["exception"]
    exception = frames[0]["exception"]
    assert exception["type"] == type_
    assert message in exception["message"]
    assert worker.finish()[0] == 1


# ---- Ends ----


def test_an_exception_arrives_with_type_message_and_traceback(start_worker: Start) -> None:
    worker = start_worker("forms:raises")
    exception = worker.wait_for("exception")["exception"]
    assert exception["type"] == "ValueError"
    assert exception["message"] == "no such job"
    first, *_, last = exception["traceback"].splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == "ValueError: no such job"
    assert "in raises" in exception["traceback"]
    assert "worker.py" not in exception["traceback"]  # Our own frames explain nothing.
    assert worker.finish() == (1, "", "")


def test_a_chained_exception_keeps_its_cause(start_worker: Start) -> None:
    traceback = start_worker("forms:raises_chained").wait_for("exception")["exception"]["traceback"]
    assert traceback.index("ValueError: no such job") < traceback.index("direct cause")
    assert traceback.endswith("KeyError: 'outer'\n")


def test_an_exception_that_cannot_be_printed_is_still_reported(start_worker: Start) -> None:
    exception = start_worker("forms:raises_strange").wait_for("exception")["exception"]
    assert exception["type"] == "forms.StrangeError"
    assert "RuntimeError" in exception["message"]


def test_a_class_of_a_file_target_has_a_plain_name(start_worker: Start) -> None:
    worker = start_worker("beside/script.py:raises_its_own")
    assert worker.wait_for("exception")["exception"]["type"] == "OwnError"


@pytest.mark.parametrize(("code", "ends_with"), [(0, 0), (3, 3), (78, 78), (None, 0), ("text", 1)])
def test_system_exit_is_the_exit_code(start_worker: Start, code: int | str | None, ends_with: int) -> None:
    worker = start_worker("forms:exits", config={"code": code})
    assert list(worker.frames()) == []
    assert worker.finish() == (ends_with, "", "text\n" if code == "text" else "")


def test_ignore_is_a_frame_and_a_clean_end(start_worker: Start) -> None:
    worker = start_worker("forms:ignores")
    assert list(worker.frames()) == [{"type": "ignore"}]
    assert worker.finish()[0] == 0


def test_a_segfault_leaves_the_stack_of_every_thread(start_worker: Start) -> None:
    worker = start_worker("forms:segfaults")
    worker.wait_for("ready")
    assert worker.finish()[0] == -signal.SIGSEGV
    stacks = worker.stacks()
    assert "Segmentation fault" in stacks
    assert "in segfaults" in stacks
    assert "in idle_in_a_thread" in stacks


def test_an_abort_leaves_its_stack(start_worker: Start) -> None:
    worker = start_worker("forms:aborts")
    assert worker.finish()[0] == -signal.SIGABRT
    assert "in aborts" in worker.stacks()


def test_a_hang_ended_by_sigabrt_shows_where_it_hung(start_worker: Start) -> None:
    worker = start_worker("forms:hangs")
    worker.wait_for("ready")
    worker.process.send_signal(signal.SIGABRT)
    assert worker.finish()[0] == -signal.SIGABRT
    assert "in hangs" in worker.stacks()


def test_threads_may_outlive_a_main_that_returned(start_worker: Start) -> None:
    assert start_worker("forms:thread_outlives_main").finish()[:2] == (0, "thread done\n")


@pytest.mark.slow
def test_a_thread_cannot_hold_up_a_crashed_service(start_worker: Start) -> None:
    worker = start_worker("forms:crashes_with_a_thread_left")
    assert worker.wait_for("exception")["exception"]["message"] == "main is gone"
    assert worker.finish()[0] == 1
    assert "Timeout" in worker.stacks()


# ---- Stops ----

STOPS = {
    "frame": WorkerHost.cancel,
    "signal": WorkerHost.terminate,
    "host gone": WorkerHost.hang_up,
}


@pytest.fixture(params=list(STOPS.values()), ids=list(STOPS))
def stop(request: pytest.FixtureRequest) -> Callable[[WorkerHost], None]:
    """Each way in which a stop arrives."""
    way: Callable[[WorkerHost], None] = request.param
    return way


def test_a_process_ends_after_its_threads_have_begun() -> None:
    program = """if True:
        import atexit, time
        begun = []
        atexit.register(lambda: print(begun))
        from unirun import _daemons
        start_new_thread = _daemons.start_new_thread
        def start_late(function, arguments):
            def begin_late():
                time.sleep(0.2)
                begun.append("late")
                function()
            return start_new_thread(begin_late, arguments)
        _daemons.start_new_thread = start_late
        _daemons.start(lambda: time.sleep(3600))
    """
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "['late']\n"


@pytest.mark.parametrize("target", ["Polite", "Async", "async_function", "async_shields_itself"])
def test_stops_a_service_that_takes_a_context(
    start_worker: Start, stop: Callable[[WorkerHost], None], target: str
) -> None:
    worker = start_worker(f"forms:{target}")
    worker.wait_for("ready")
    stop(worker)
    code, _, err = worker.finish()
    assert (code, err) == (0, "")


@pytest.mark.parametrize(
    "target",
    ["sleeps_without_context", "waits_for_a_lock_without_context", "async_without_context"],
)
def test_stops_a_function_that_takes_no_context(
    start_worker: Start, stop: Callable[[WorkerHost], None], target: str
) -> None:
    worker = start_worker(f"forms:{target}")
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline() in (b"asleep\n", b"waiting\n", b"started\n")
    stop(worker)
    code, out, err = worker.finish()
    assert (code, err) == (0, "")
    assert ("woken" in out) == (target == "sleeps_without_context")


def test_a_token_tells_before_the_end(start_worker: Start) -> None:
    worker = start_worker("forms:Polite")
    worker.wait_for("ready")
    worker.cancel()
    assert worker.wait_for("status")["text"] == "asked to stop"


def test_a_coroutine_sees_cancelled_error(start_worker: Start) -> None:
    worker = start_worker("forms:Async")
    worker.wait_for("ready")
    worker.cancel()
    assert worker.wait_for("status")["text"] == "cancelled"


def test_cancelled_error_without_a_stop_is_a_crash(start_worker: Start) -> None:
    worker = start_worker("forms:async_cancels_itself")
    assert worker.wait_for("exception")["exception"]["type"].endswith("CancelledError")
    assert worker.finish()[0] == 1


def test_a_second_stop_leaves_the_clean_up_alone(start_worker: Start) -> None:
    worker = start_worker("forms:cleans_up_slowly")
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline() == b"started\n"
    worker.cancel()
    for _ in range(20):
        worker.terminate()
    assert worker.finish() == (0, "cleaned\n", "")


def test_a_stop_whose_signal_comes_just_before_a_system_call_is_heard(start_worker: Start) -> None:
    worker = start_worker("forms:loses_the_first_signal")
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline() == b"started\n"
    worker.cancel()
    assert worker.finish() == (0, "", "")


def stopped_before_each_statement(start_worker: Start, target: str) -> Iterator[WorkerHost]:
    """Workers of a target that uses `forms.Strike`, until there is no further statement to strike before."""
    for statement in itertools.count():
        worker = start_worker(target, config={"statement": statement})
        yield worker
        code, out, err = worker.finish()
        assert (code, err) == (0, ""), f"struck before statement {statement}: {out}"
        if out == "not struck\n":
            assert statement > 5
            return
        assert out == "struck\n"


def test_a_stop_is_heard_wherever_in_its_handler_another_one_strikes(start_worker: Start) -> None:
    for _ in stopped_before_each_statement(start_worker, "forms:is_stopped_within_a_stop"):
        pass


def test_a_stop_while_a_thread_is_being_started_leaves_nothing_to_wait_for(start_worker: Start) -> None:
    for _ in stopped_before_each_statement(start_worker, "forms:is_stopped_while_it_starts_a_thread"):
        pass


def test_a_stop_leaves_what_is_being_sent_whole_and_sends_it_once(start_worker: Start) -> None:
    for worker in stopped_before_each_statement(start_worker, "forms:is_stopped_while_it_logs"):
        assert [frame["message"] for frame in worker.frames() if frame["type"] == "log"] == ["said once"]


def test_a_stop_leaves_what_was_to_be_called_at_it_alone(start_worker: Start) -> None:
    worker = start_worker("forms:is_stopped_while_its_callback_runs")
    assert worker.finish() == (0, "called back\nstopped\n", "")


def test_a_stop_that_a_finalizer_would_lose_is_heard_after_it(start_worker: Start) -> None:
    worker = start_worker("forms:is_stopped_in_a_finalizer")
    assert worker.finish() == (0, "finalized\nstopped\n", "")


@pytest.mark.parametrize("stop", ["cancel", "terminate"])
def test_a_service_that_logs_without_pause_is_stopped_and_every_record_told_once(
    start_worker: Start, stop: str
) -> None:
    worker = start_worker("forms:logs_for_ever")
    worker.wait_for("log")  # Number 0.
    getattr(worker, stop)()
    records = [frame for frame in worker.frames() if frame["type"] == "log" and frame["logger"] == "root"]
    assert [int(record["message"]) for record in records] == list(range(1, len(records) + 1))
    assert worker.finish() == (0, "", "")


@pytest.mark.parametrize("stop", ["cancel", "terminate"])
def test_a_stop_does_not_strike_the_import_machinery(start_worker: Start, stop: str) -> None:
    worker = start_worker("forms:is_stopped_while_it_imports")
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline() == b"started\n"
    getattr(worker, stop)()
    assert worker.finish() == (0, "struck the machinery: False\n", "")


def test_a_stop_before_the_start_runs_nothing(start_worker: Start) -> None:
    worker = start_worker("forms:without_context")
    worker.terminate()  # Races with the start of the interpreter: both ends are right.
    code, out, _ = worker.finish()
    assert (code, out) in [(-signal.SIGTERM, ""), (0, ""), (0, "ran\n")]


def test_a_host_that_says_nothing_and_goes_ends_the_worker() -> None:
    ours, theirs = os.pipe()
    os.close(theirs)
    ended = subprocess.run(
        [sys.executable, "-m", "unirun.worker"],
        env={**os.environ, "PYTHONPATH": str(PACKAGE), "UNIRUN_CONTROL_FD": str(ours)},
        pass_fds=[ours],
        capture_output=True,
        check=False,
    )
    os.close(ours)
    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("value", [None, "99", "ten"])
def test_started_by_hand_it_says_what_to_do(value: str | None) -> None:
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE)}
    environment.pop("UNIRUN_CONTROL_FD", None)
    if value is not None:
        environment["UNIRUN_CONTROL_FD"] = value
    ended = subprocess.run(
        [sys.executable, "-m", "unirun.worker"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert "unirun up CONFIG" in ended.stderr


def test_garbage_instead_of_a_frame_ends_the_worker(start_worker: Start) -> None:
    worker = start_worker("forms:Polite")
    worker.wait_for("ready")
    worker._socket.sendall(b"\xff" * 64)
    assert worker.finish()[0] == 0


# ---- What it tells ----


def test_log_records_become_frames(start_worker: Start) -> None:
    worker = start_worker("forms:logs")
    placed, failed = [frame for frame in worker.frames() if frame["type"] == "log"]
    assert (placed["level"], placed["logger"], placed["message"]) == (
        "INFO",
        "shop.orders",
        "placed 7",
    )
    assert placed["file"].endswith("forms.py")
    assert placed["line"] > 0
    assert failed["logger"] == "tree.one"
    assert failed["level"] == "ERROR"
    assert failed["message"].endswith("ValueError: no such job")
    assert worker.finish() == (0, "", "")


def test_the_host_chooses_the_log_level(start_worker: Start) -> None:
    worker = start_worker("forms:logs", log_level="debug")
    messages = [frame["message"] for frame in worker.frames() if frame["type"] == "log"]
    assert messages[:2] == ["placed 7", "too fine"]


def test_logging_while_logging_does_not_recurse(start_worker: Start) -> None:
    worker = start_worker("forms:logs_while_formatting")
    messages = [frame["message"] for frame in worker.frames() if frame["type"] == "log"]
    assert messages == ["outer noisy"]
    assert worker.finish() == (0, "", "")


def test_a_host_that_does_not_read_stops_nobody(start_worker: Start) -> None:
    worker = start_worker("forms:floods", config={"count": 3000})
    assert worker.process.stdout is not None
    assert worker.process.stdout.readline() == b"flooded\n"  # 3 MB of logs, and nobody read.
    worker.cancel()
    numbers, notices = [], []
    for frame in worker.frames():
        if frame["type"] == "log" and frame["logger"] == "flood":
            numbers.append(int(frame["message"].split()[0]))
        elif frame["type"] == "log":
            notices.append(frame)
    assert 0 < len(numbers) < 3000
    assert numbers == sorted(set(numbers))  # Those that came are whole and in order.
    assert [frame["logger"] for frame in notices] == ["unirun.worker"]
    assert notices[0]["message"].startswith(f"{3000 - len(numbers)} frames were dropped")


def test_heartbeats_in_a_tight_loop_are_few(start_worker: Start) -> None:
    worker = start_worker("forms:beats", heartbeat=3600.0)
    assert [frame["type"] for frame in worker.frames()] == ["heartbeat"]


def test_without_liveness_nobody_is_told_of_heartbeats(start_worker: Start) -> None:
    assert list(start_worker("forms:beats", heartbeat=None).frames()) == []


def test_a_forked_child_is_not_the_service(start_worker: Start) -> None:
    worker = start_worker("forms:forks")
    assert texts(list(worker.frames())) == [f"child ended by signal {int(signal.SIGTERM)}"]


def test_a_forked_child_hears_no_stop_that_waits_for_the_end_of_a_send_of_its_parent() -> None:
    """It would be a signal to a thread that the child does not have."""
    ours, theirs = socket.socketpair()
    channel = Channel(theirs.detach())
    called: list[None] = []
    channel.when_sent(lambda: called.append(None))
    channel.abandon()
    channel.send({})
    ours.close()
    assert not called


# ---- What it costs ----


def test_the_runtime_imports_little() -> None:
    """Each module here is paid for by every start of every worker."""
    script = (
        "import sys, json; before = set(sys.modules); import unirun.worker;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(PACKAGE)},
        capture_output=True,
        check=True,
    )
    expensive = {"asyncio", "dataclasses", "inspect", "logging", "pathlib", "socket", "subprocess"}
    assert not expensive & set(json.loads(loaded.stdout))
