"""What goes wrong, and what must be true afterwards: the rows of the faults."""

from __future__ import annotations

import pytest
from cell import IN_PROCESS, Cell, item
from real_host import eventually

import unirun

ALONE = "it holds up nobody but itself"
SHARED_FATE = "it shares the host's process: nothing can be between them"


@item()
def a_target_that_does_not_import_is_a_failed_start(cell: Cell) -> None:
    with pytest.raises(unirun.StartFailed):
        cell.start(cell.child("no_such_module:Main"))
    assert "no_such_module" in str(cell.exit_of())


@item()
def a_target_that_is_not_callable_is_a_failed_start(cell: Cell) -> None:
    with pytest.raises(unirun.StartFailed):
        cell.start(cell.child("not_callable"))
    assert "not_callable" in str(cell.exit_of())


@item()
def an_exception_in_init_is_a_failed_start(cell: Cell) -> None:
    with pytest.raises(unirun.StartFailed):
        cell.start(cell.child("FailingInit"))
    assert "no room in here" in str(cell.exit_of())


@item(thread=SHARED_FATE, **{"async": SHARED_FATE})
def an_abort_is_a_signal_with_stacks(cell: Cell) -> None:
    cell.start(cell.child("Aborting", restart="temporary"))
    reason = cell.exit_of()
    assert (reason["kind"], reason["signal"]) == ("signal", 6)
    assert "in act" in reason["stacks"]


@item(thread=SHARED_FATE, **{"async": SHARED_FATE})
def a_segfault_is_a_signal_with_stacks(cell: Cell) -> None:
    cell.start(cell.child("Segfaulting", restart="temporary"))
    reason = cell.exit_of()
    assert (reason["kind"], reason["signal"]) == ("signal", 11)
    assert "in act" in reason["stacks"]


@item(thread=SHARED_FATE, **{"async": SHARED_FATE})
def leaving_by_os_exit_is_an_exit_code(cell: Cell) -> None:
    cell.start(cell.child("LeavingAtOnce", restart="temporary"))
    assert cell.exit_of()["exit_code"] == 5


@item()
def a_kill_by_command_is_followed_by_a_restart(cell: Cell) -> None:
    cell.start(cell.child("Living"))
    cell.client.service(cell.path()).kill()
    cell.wait_for("service_started", times=2)


@item(async_process="its loop beats for it: see the row of the blocked loop")
def silence_is_a_liveness_timeout(cell: Cell) -> None:
    cell.start(cell.child("Silent", liveness={"kind": "heartbeat", "timeout": "300ms"}, restart="temporary"))
    assert cell.exit_of()["kind"] == "liveness_timeout"


@item(async_process="its loop beats for it: see the row of the blocked loop")
def who_beats_is_left_alone(cell: Cell) -> None:
    def is_left_alone(seconds: int) -> bool:
        """For as long as it takes to find another one silent."""
        beating, silent = f"beating-{seconds}", f"silent-{seconds}"
        quiet = {"kind": "heartbeat", "timeout": f"{seconds}s"}
        for target, name in (("Beating", beating), ("Silent", silent)):
            cell.client[cell.id].start_child(cell.child(target, name, liveness=quiet))
        cell.wait_for("service_unresponsive", silent)
        return not cell.events("service_unresponsive", beating)

    cell.start(cell.child("Living"))
    assert any(map(is_left_alone, (2, 4, 8, 16)))  # A busy machine may keep it from its beats for two seconds.


@item(process=ALONE, async_process=ALONE, thread=ALONE)
def who_blocks_the_loop_is_named_while_it_does(cell: Cell) -> None:
    # For so long that somebody comes to look on a busy machine, too.
    cell.start(cell.child("Blocking", config={"seconds": 5}), cell.child("Living", "other"))
    blocked = cell.wait_for("loop_blocked")
    assert blocked["path"] == cell.path()
    assert cell.state("other") == "running"


@item(process="its loop is nobody's business", thread="it has none", **{"async": "see the row above"})
def a_blocked_loop_is_a_liveness_timeout_with_stacks(cell: Cell) -> None:
    alive = {"kind": "heartbeat", "timeout": "500ms"}
    cell.start(cell.child("Blocking", config={"seconds": 1000}, liveness=alive, restart="temporary"))
    reason = cell.exit_of()
    assert reason["kind"] == "liveness_timeout"
    assert "in begin" in reason["stacks"]


@item(thread="a limit is the process's", **{"async": "a limit is the process's"})
def memory_beyond_its_limit_is_its_own_loss(cell: Cell) -> None:
    limit = {"as": {"soft": "1GiB", "hard": "1GiB"}}
    cell.start(cell.child("Greedy", rlimits=limit, restart="temporary"), cell.child("Living", "other"))
    assert cell.exit_of()["exception"]["type"] == "MemoryError"
    assert cell.state("other") == "running"


@item(thread=SHARED_FATE, **{"async": SHARED_FATE})
def a_closed_control_channel_leaves_nobody_behind(cell: Cell) -> None:
    cell.start(cell.child("Closing", shutdown="300ms"), cell.child("Living", "other"))
    cell.client[""].terminate_child(cell.id)
    cell.exit_of()
    assert cell.exit_of("other")["kind"] == "shutdown"


@item(thread="stdout is the host's own", **{"async": "stdout is the host's own"})
def a_flood_of_output_keeps_its_last_lines(cell: Cell) -> None:
    cell.start(cell.child("Flooding"))
    logs = cell.client.service(cell.path()).logs

    def last() -> bool:
        lines = logs(tail=1)
        return bool(lines) and lines[-1]["text"] == "the last line"

    assert eventually(last)


@item(thread="a thread owns no process", **{"async": "a coroutine owns no process"})
def what_it_forked_ends_with_it(cell: Cell) -> None:
    cell.start(cell.child("Forking", env={"FAULT_TOKEN": f"{cell.host.token}-{cell.id}"}))
    cell.status_text("^forked ")
    forked = int(cell.events("service_status_text")[-1]["text"].split()[1])
    token = f"{cell.host.token}-{cell.id}"
    assert forked in cell.host.processes(token)
    cell.client[""].terminate_child(cell.id)
    assert eventually(lambda: forked not in cell.host.processes(token))


@item()
def a_hundred_crashes_leave_the_host_as_it_was(cell: Cell) -> None:
    crashes = {"kind": "fixed", "initial": "1ms"}
    times = 100 if cell.executor in IN_PROCESS else 10
    cell.start(cell.child("Raising", backoff=crashes), cell.child("Living", "other"))
    cell.wait_for("service_exited", times=times)
    assert cell.state("other") == "running"
    cell.client[""].terminate_child(cell.id)
    assert cell.starts("other") == 1
