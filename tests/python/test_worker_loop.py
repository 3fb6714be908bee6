"""The worker runtime told to run its target on an event loop (the executor async_process)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from worker_host import WorkerHost

Start = Callable[..., WorkerHost]
STOPS = {"frame": WorkerHost.cancel, "signal": WorkerHost.terminate, "host gone": WorkerHost.hang_up}


@pytest.mark.parametrize("stop", list(STOPS.values()), ids=list(STOPS))
@pytest.mark.parametrize("target", ["Async", "async_function", "async_shields_itself"])
def test_every_stop_arrives_in_the_loop(start_worker: Start, target: str, stop: Callable[[WorkerHost], None]) -> None:
    worker = start_worker(f"forms:{target}", on_loop=True)
    worker.wait_for("ready")
    stop(worker)
    code, _, err = worker.finish()
    assert (code, err) == (0, "")


@pytest.mark.parametrize("stop", [WorkerHost.cancel, WorkerHost.terminate])
def test_a_stop_is_a_cancelled_error_inside(start_worker: Start, stop: Callable[[WorkerHost], None]) -> None:
    worker = start_worker("forms:Async", on_loop=True)
    worker.wait_for("ready")
    stop(worker)
    assert worker.wait_for("status")["text"] == "cancelled"


def test_a_service_with_both_runs_the_async_one(start_worker: Start) -> None:
    assert start_worker("forms:Both", on_loop=True).wait_for("status")["text"] == "run_async"
    assert start_worker("forms:Both").wait_for("status")["text"] == "run"


def test_the_loop_tells_the_heartbeat(start_worker: Start) -> None:
    worker = start_worker("forms:async_function", on_loop=True, heartbeat=0.1)
    for _ in range(5):
        worker.wait_for("heartbeat")
    worker.cancel()
    assert worker.finish() == (0, "", "")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("forms:with_context", "is no async def, and would block the event loop; make it one"),
        ("forms:callable_object", "is no async def"),
        ("forms:Polite", "has run and no run_async, and would block the event loop; override run_async"),
        ("forms:instance_of_service", "override run_async, or take the executor"),
    ],
)
def test_what_only_blocks_is_refused_before_it_runs(start_worker: Start, target: str, message: str) -> None:
    worker = start_worker(target, on_loop=True)
    (frame,) = worker.frames()
    assert (frame["type"], frame["prepared"]) == ("exception", False)
    assert target in frame["exception"]["message"]
    assert message in frame["exception"]["message"]
    assert worker.finish()[0] == 1


def test_an_exception_arrives_without_the_frames_of_the_loop(start_worker: Start) -> None:
    worker = start_worker("forms:async_raises", on_loop=True)
    frame = worker.wait_for("exception")
    assert frame["prepared"] is True
    traceback = frame["exception"]["traceback"]
    assert "in async_raises" in traceback
    assert "asyncio" not in traceback
    assert worker.finish() == (1, "", "")


def test_a_service_that_fails_in_init_never_ran(start_worker: Start) -> None:
    for on_loop in (False, True):
        frame = start_worker("forms:FailsInInit", on_loop=on_loop).wait_for("exception")
        assert frame["prepared"] is False
        assert frame["exception"]["type"] == "ValueError"
        assert "in __init__" in frame["exception"]["traceback"]
