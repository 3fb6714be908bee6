"""What every executor promises: the rows of the contract."""

from __future__ import annotations

import pytest
from cell import Cell, item
from real_host import eventually

import unirun

BLOCKS = "a function that blocks has no place on a loop"


@item()
def running_only_when_it_has_said_ready(cell: Cell) -> None:
    cell.start(cell.child("Living"))
    ready = cell.wait_for("service_started")["sequence"]
    assert cell.wait_for("service_starting")["sequence"] < ready
    assert cell.state() == "running"


@item(**{"async": BLOCKS, "async_process": BLOCKS})
def a_plain_function_is_a_service(cell: Cell) -> None:
    cell.start(cell.child("living_function"))
    cell.stop_service()
    assert cell.exit_of()["kind"] == "shutdown"


@item()
def an_async_function_is_a_service(cell: Cell) -> None:
    cell.start(cell.child("living_coroutine"))
    cell.stop_service()
    assert cell.exit_of()["kind"] == "shutdown"


@item(process="it runs there", thread="it runs there")
def a_function_that_blocks_is_refused_on_a_loop(cell: Cell) -> None:
    with pytest.raises(unirun.StartFailed):
        cell.start(cell.child("living_function"))
    assert "living_function" in str(cell.exit_of())


@item()
def not_ready_in_time_is_a_failed_start(cell: Cell) -> None:
    with pytest.raises(unirun.StartFailed):
        cell.start(cell.child("NeverReady", start_timeout="300ms", shutdown="2s"))
    assert cell.exit_of()["kind"] == "start_timeout"
    assert cell.starts() == 0


@item()
def config_path_and_id_are_those_of_the_tree(cell: Cell) -> None:
    cell.start(cell.child("Configured", config={"batch": 17}))
    cell.status_text(f"^{cell.path()} w 17$")


@item()
def a_stop_is_answered_as_shutdown(cell: Cell) -> None:
    cell.start(cell.child("Living"))
    cell.stop_service()
    assert cell.exit_of()["kind"] == "shutdown"
    assert cell.state() == "stopped"


@item()
def a_stop_that_is_ignored_ends_within_its_time(cell: Cell) -> None:
    cell.start(cell.child("Deaf", shutdown="200ms"), cell.child("Living", "after"))
    cell.client[""].terminate_child(cell.id)
    kind = cell.exit_of()["kind"]
    # A process can be killed; a thread and a coroutine can only be given up.
    assert kind == ("stuck" if cell.executor in ("thread", "async") else "killed")
    assert cell.exit_of("after")["kind"] == "shutdown"


@item()
def brutal_kill_asks_nobody(cell: Cell) -> None:
    cell.start(cell.child("Living", shutdown="brutal_kill"))
    cell.client[""].terminate_child(cell.id)
    assert cell.exit_of()["kind"] in ("killed", "shutdown")


@item()
def children_stop_in_reverse_order(cell: Cell) -> None:
    cell.start(cell.child("Living", "one"), cell.child("Living", "two"), cell.child("Living", "three"))
    cell.client[""].terminate_child(cell.id)
    ended = [cell.wait_for("service_exited", name)["sequence"] for name in ("three", "two", "one")]
    assert ended == sorted(ended)


@item()
def a_permanent_service_that_returns_is_started_again(cell: Cell) -> None:
    cell.start(cell.child("Returning", backoff={"kind": "fixed", "initial": "5ms"}))
    assert cell.exit_of(times=3)["kind"] == "normal"


@item()
def a_transient_service_that_returns_is_done(cell: Cell) -> None:
    cell.start(cell.child("Returning", restart="transient"), cell.child("Living", "other"))
    cell.wait_for("service_completed")
    assert cell.starts() == 1
    assert cell.state("other") == "running"


@item()
def a_temporary_service_is_never_started_again(cell: Cell) -> None:
    cell.start(cell.child("Raising", restart="temporary"), cell.child("Living", "other"))
    assert cell.exit_of()["kind"] == "exception"
    cell.client.service(cell.path("other")).restart()
    assert cell.starts() == 1


@item()
def an_exception_is_a_crash_with_type_message_and_traceback(cell: Cell) -> None:
    cell.start(cell.child("Raising", backoff={"kind": "fixed", "initial": "5ms"}))
    reason = cell.exit_of()
    assert reason["kind"] == "exception"
    assert (reason["exception"]["type"], reason["exception"]["message"]) == ("ValueError", "no such job")
    assert "in act" in reason["exception"]["traceback"]
    cell.wait_for("service_started", times=2)


@item()
def system_exit_0_is_a_normal_end(cell: Cell) -> None:
    cell.start(cell.child("Exiting", config={"code": 0}, restart="transient"))
    assert cell.exit_of()["kind"] == "normal"


@item()
def system_exit_3_is_an_exit_code(cell: Cell) -> None:
    cell.start(cell.child("Exiting", config={"code": 3}, restart="temporary"))
    reason = cell.exit_of()
    assert (reason["kind"], reason["exit_code"]) == ("exit_code", 3)


@item()
def an_exit_code_that_forbids_it_is_not_restarted(cell: Cell) -> None:
    cell.start(cell.child("Exiting", config={"code": 78}), cell.child("Living", "other"))
    cell.wait_for("service_failed")
    assert cell.starts() == 1
    assert cell.state("other") == "running"


@item()
def a_service_may_decline_to_run(cell: Cell) -> None:
    cell.start(cell.child("Declining"), cell.child("Living", "other"))
    assert cell.state("other") == "running"
    assert cell.starts() == 0


@item()
def restarts_beyond_the_intensity_end_the_supervisor(cell: Cell) -> None:
    cell.start(cell.child("Raising"), cell.child("Living", "other"), max_restarts=2, period=60.0)
    cell.wait_for("supervisor_gave_up", "")
    cell.wait_for("supervisor_stopped", "")
    assert len(cell.events("service_exited")) == 3
    assert cell.exit_of("other")["kind"] == "shutdown"


@item()
def one_for_all_restarts_its_siblings(cell: Cell) -> None:
    cell.start(cell.child("Living", "other"), cell.child("Living"), strategy="one_for_all")
    cell.client.service(cell.path()).kill()
    cell.wait_for("service_started", "other", times=2)
    cell.wait_for("service_started", times=2)
    assert cell.exit_of("other")["kind"] == "shutdown"


@item()
def rest_for_one_restarts_those_that_started_later(cell: Cell) -> None:
    before, after = cell.child("Living", "before"), cell.child("Living", "after")
    cell.start(before, cell.child("Living"), after, strategy="rest_for_one")
    cell.client.service(cell.path()).kill()
    cell.wait_for("service_started", "after", times=2)
    assert cell.starts("before") == 1


@item()
def dependents_wait_until_it_is_ready(cell: Cell) -> None:
    first = cell.child("Living", "first")
    cell.start(cell.child("Living", depends_on=[{"id": "first", "condition": "ready"}]), first)
    ready = cell.wait_for("service_started", "first")["sequence"]
    assert ready < cell.wait_for("service_starting")["sequence"]


@item()
def backoff_waits_before_the_restart(cell: Cell) -> None:
    cell.start(cell.child("Raising", backoff={"kind": "fixed", "initial": "80ms"}))
    died = cell.wait_for("service_exited")["monotonic"]
    assert cell.wait_for("service_starting", times=2)["monotonic"] - died >= 0.08


@item()
def children_come_and_go_by_otps_calls(cell: Cell) -> None:
    cell.start(cell.child("Living"))
    supervisor = cell.client[cell.id]
    supervisor.start_child(cell.child("Living", "more"))
    assert supervisor.count_children().active == 2
    supervisor.terminate_child("more")
    supervisor.restart_child("more")
    supervisor.terminate_child("more")
    supervisor.delete_child("more")
    assert [child.id for child in supervisor.which_children()] == ["w"]


@item()
def instances_scale_up_and_down(cell: Cell) -> None:
    cell.start(cell.child("Living", instances=2))
    cell.client.service(cell.path()).scale(3)
    assert cell.state("w-3") == "running"
    cell.client.service(cell.path()).scale(1)
    assert cell.client[cell.id].count_children().active == 1


# ---- What its context can do ----


@item()
def log_records_become_events(cell: Cell) -> None:
    cell.start(cell.child("Speaking"))
    record = cell.wait_for("service_log")
    assert (record["level"].upper(), record["message"]) == ("WARNING", "odd: 7")
    assert record["file"].endswith("services.py")
    assert record["line"] > 0


@item()
def a_status_text_is_shown(cell: Cell) -> None:
    cell.start(cell.child("Speaking"))
    cell.status_text("^busy with the first$")


@item()
def a_scope_of_its_own_does_work(cell: Cell) -> None:
    cell.start(cell.child("Working"))
    cell.status_text("^sum 6$")


@item()
def its_counters_and_gauges_are_metrics(cell: Cell) -> None:
    cell.start(cell.child("Counting"))
    labels = f'{{service="{cell.path()}",name='
    expected = [f'unirun_service_counter_total{labels}"jobs"}} 3', f'unirun_service_gauge{labels}"depth"}} 7']
    assert eventually(lambda: set(expected) <= set(cell.client.metrics().splitlines()))


@item()
def it_sees_what_happens_to_others(cell: Cell) -> None:
    observer = cell.child("Observing", "observer", config={"whom": cell.path()})
    cell.start(observer, cell.child("Living", restart="temporary"))
    cell.client.service(cell.path()).kill()
    cell.status_text(f"^{cell.path()} died: ", "observer")
