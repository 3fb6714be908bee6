"""One contract: the same services under every executor that can carry them."""

from __future__ import annotations

from typing import Any

import pytest

import unirun
from recorder import PATIENCE, Make
from unirun import Child, events

pytestmark = pytest.mark.native

BLOCKING = ["process", "thread"]  # Where a service may block.
ALL = [*BLOCKING, "async", "async_process"]

CARRIED = [
    *((executor, shape) for executor in BLOCKING for shape in ("function", "Blocking")),
    *((executor, shape) for executor in ALL for shape in ("coroutine", "Awaiting", "Either")),
]


def styled(executor: str, shape: str) -> str:
    """The form of ``shape`` that ``executor`` can carry."""
    return f"shapes:{shape}" + ("" if executor in BLOCKING else "_async")


def child(target: str, executor: str, **members: Any) -> Child:
    return Child("one", target=target, executor=executor, readiness={"kind": "notify"}, **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(("executor", "shape"), CARRIED)
def test_a_service_lives_and_stops_alike(make_host: Make, executor: str, shape: str) -> None:
    host, recorder = make_host(
        child(f"shapes:{shape}", executor, config={"who": "you"}, arguments=[7], liveness={"kind": "heartbeat"})
    )
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
        assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "serving you with [7]"
        record = recorder.wait_for(events.ServiceLog, "tree/one")
    assert (record.level, record.logger, record.message) == ("WARNING", "tree.one", "hello from you")
    assert record.file.endswith("shapes.py")
    assert record.line > 0
    assert record.extra == {"job": "7"}
    exited = recorder.wait_for(events.ServiceExited, "tree/one")
    assert exited.reason.kind == "shutdown"
    recorder.wait_for(events.HostStopped)
    said = [event.text for event in recorder.of(events.ServiceStatusText, "tree/one")]
    assert ("saw CancelledError" in said) == (shape == "Awaiting")


@pytest.mark.parametrize("executor", ALL)
def test_an_exception_is_a_crash_with_its_traceback(make_host: Make, executor: str) -> None:
    host, recorder = make_host(
        child(styled(executor, "raises"), executor), max_restarts=1, root={"restart_intensity": {"max_restarts": 0}}
    )
    host.start(wait=False)
    host.wait(PATIENCE)
    recorder.wait_for(events.HostStopped)
    first, second = recorder.of(events.ServiceExited, "tree/one")
    for exited in (first, second):
        assert exited.reason.kind == "exception"
        exception = exited.reason.exception
        assert exception is not None
        assert (exception.type, exception.message) == ("LookupError", "no such job")
        frames = exception.traceback.splitlines()
        assert frames[0] == "Traceback (most recent call last):"
        assert "shapes.py" in frames[1]
        assert "in deeper" in exception.traceback


@pytest.mark.parametrize("executor", ALL)
@pytest.mark.parametrize(("code", "kind"), [(0, "normal"), (None, "normal"), (3, "exit_code"), (4, "normal")])
def test_system_exit_means_the_same(make_host: Make, executor: str, code: int | None, kind: str) -> None:
    host, recorder = make_host(
        child(
            styled(executor, "exits"),
            executor,
            config={"code": code},
            restart="temporary",
            success_exit_codes=[4],
        )
    )
    with host:
        reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
    assert reason.kind == kind, reason
    if kind == "exit_code":
        assert reason.exit_code == code


@pytest.mark.parametrize("executor", ALL)
def test_a_service_may_return_at_once_or_decline(make_host: Make, executor: str) -> None:
    host, recorder = make_host(
        child(styled(executor, "returns_at_once"), executor, restart="transient"),
        Child(
            "two",
            target=styled(executor, "declines"),
            executor=executor,  # type: ignore[arg-type]
            readiness={"kind": "notify"},
            restart="temporary",
        ),
        Child("three", target=styled(executor, "declines"), executor=executor, readiness={"kind": "notify"}),  # type: ignore[arg-type]
    )
    with host:
        assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "normal"
        assert {row.id for row in host["tree"].which_children()} == {"one", "three"}
        assert not recorder.of(events.ServiceExited, "tree/three")


BAD = [
    ("nowhere:main", ALL, "unirun.errors.TargetError", "no module named 'nowhere'"),
    ("broken_import:main", ALL, "ModuleNotFoundError", "no_such_dependency"),
    ("broken_syntax:main", ALL, "SyntaxError", "invalid syntax"),
    ("shapes:Eithr", ALL, "unirun.errors.TargetError", "did you mean 'Either'?"),
    ("shapes:not_callable", ALL, "unirun.errors.TargetError", "found int"),
    ("shapes:NotAService", ALL, "unirun.errors.TargetError", "not a subclass of unirun.Service"),
    ("shapes:FailsInInit", ALL, "ValueError", "no device"),
    ("shapes:function", ["async", "async_process"], "unirun.errors.TargetError", "is no async def"),
    ("shapes:Blocking", ["async", "async_process"], "unirun.errors.TargetError", "override run_async"),
]


@pytest.mark.parametrize(
    ("target", "executor", "type_", "message"),
    [(target, executor, type_, message) for target, executors, type_, message in BAD for executor in executors],
)
def test_a_bad_target_is_a_failed_start_that_says_why(
    make_host: Make,
    target: str,
    executor: str,
    type_: str,
    message: str,
) -> None:
    host, recorder = make_host(child(target, executor))
    with pytest.raises(unirun.StartFailed, match="start failed"):
        host.start()
    reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
    assert reason.kind == "start_failed"
    assert reason.exception is not None
    assert reason.exception.type == type_
    assert message in reason.exception.message


@pytest.mark.parametrize("executor", ["process", "async_process"])
def test_os_exit_is_an_exit_code_of_a_process(make_host: Make, executor: str) -> None:
    host, recorder = make_host(child(styled(executor, "ends_the_process"), executor, restart="temporary"))
    with host:
        reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
    assert (reason.kind, reason.exit_code) == ("exit_code", 7)


@pytest.mark.parametrize("executor", BLOCKING)
def test_a_target_that_takes_no_context_is_interrupted(make_host: Make, executor: str) -> None:
    host, recorder = make_host(Child("one", target="shapes:knows_nothing_of_stops", executor=executor))  # type: ignore[arg-type]
    with host:
        recorder.wait_for(events.ServiceStarted, "tree/one")
    assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "shutdown"


@pytest.mark.parametrize("executor", ALL)
def test_what_is_written_for_asyncio_works(make_host: Make, executor: str) -> None:
    host, recorder = make_host(child("shapes:uses_asyncio", executor))
    with host:
        assert recorder.wait_for(events.ServiceStatusText, "tree/one").text == "6 over and out hi 0"
    assert recorder.wait_for(events.ServiceExited, "tree/one").reason.kind == "shutdown"


def test_a_process_whose_loop_is_blocked_does_not_tell_that_it_lives(make_host: Make) -> None:
    liveness = {"kind": "heartbeat", "timeout": 0.5}
    host, recorder = make_host(child("shapes:blocks_its_loop", "async_process", liveness=liveness, restart="temporary"))
    with host:
        recorder.wait_for(events.ServiceUnresponsive, "tree/one")
        reason = recorder.wait_for(events.ServiceExited, "tree/one").reason
        assert reason.kind == "liveness_timeout"
        assert "in blocks_its_loop" in reason.stacks


def test_the_loop_of_a_process_tells_that_it_lives(make_host: Make) -> None:
    def is_heard(timeout: float) -> bool:
        """For three timeouts of another service's life."""
        host, recorder = make_host(
            child("shapes:idles", "async_process", liveness={"kind": "heartbeat", "timeout": timeout}),
            Child("beside", command=["sleep", str(3 * timeout)], restart="temporary"),
            max_restarts=99,
        )
        with host:
            recorder.wait_for(events.ServiceExited, "tree/beside")
            return not recorder.of(events.ServiceUnresponsive)

    assert any(map(is_heard, (0.5, 1.0, 2.0, 4.0)))  # A busy machine may keep it from its word for half a second.
