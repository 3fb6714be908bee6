"""DecisionTrace and those who listen."""

from __future__ import annotations

import json
import logging

import pytest

import unirun
from scopes import fresh
from unirun import DecisionTrace, add_decision_listener, observe_decisions, remove_decision_listener, scheduler
from unirun.decisions import REASONS, notify, reason_for

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]


def trace(mode: str = "auto") -> DecisionTrace:
    return DecisionTrace(mode=mode, hints={}, resolved_mode="thread", reason="because")


def test_a_trace_is_plain_values_that_may_be_changed() -> None:
    made = trace()
    assert (made.thread_mode, made.name, made.max_workers, made.codes) == (None, None, None, ())
    made.reason = "another"
    assert json.loads(json.dumps(made.as_dict()))["reason"] == "another"
    made.take(trace("process"))
    assert made == trace("process")


def test_a_trace_reads_as_a_line() -> None:
    assert str(trace()) == "auto -> thread: because"
    named = DecisionTrace(mode="auto", hints={}, resolved_mode="process", reason="so", name="a", max_workers=2)
    assert str(named) == "auto for 'a' -> process with 2 workers: so"


def test_reasons_are_sentences_of_their_codes() -> None:
    assert reason_for("requested", "fallback", detail="no such thing") == (
        f"{REASONS['requested']}; fell back to threads: no such thing"
    )
    assert all("gil" in REASONS[code] for code in ("thread_mode_gil", "thread_mode_nogil", "free_threaded"))
    assert all("forced" in REASONS[code] for code in ("forced_threads", "forced_process"))


def test_a_listener_hears_every_decision_until_it_is_removed() -> None:
    heard: list[DecisionTrace] = []
    add_decision_listener(heard.append)
    unirun.get_executor()
    assert len(heard) == 1
    assert heard[0] is unirun.last_decision()
    remove_decision_listener(heard.append)  # Another object, equal to the first.
    unirun.get_executor()
    assert len(heard) == 1


def test_a_listener_is_called_once_however_often_it_was_added() -> None:
    heard: list[DecisionTrace] = []
    add_decision_listener(heard.append)
    add_decision_listener(heard.append)
    notify(trace())
    remove_decision_listener(heard.append)
    notify(trace())
    assert heard == [trace()]
    remove_decision_listener(heard.append)


def test_a_listener_that_fails_is_logged_and_the_next_is_called(caplog: pytest.LogCaptureFixture) -> None:
    def fail(trace: DecisionTrace) -> None:
        raise ValueError(trace.reason)

    heard: list[DecisionTrace] = []
    add_decision_listener(fail)
    add_decision_listener(heard.append)
    try:
        assert unirun.get_executor() is unirun.thread_executor()
    finally:
        remove_decision_listener(fail)
        remove_decision_listener(heard.append)
    assert len(heard) == 1
    assert "decision listener" in caplog.text


def test_a_decision_of_any_scheduler_is_heard() -> None:
    heard: list[DecisionTrace] = []
    add_decision_listener(heard.append)
    scheduler.Scheduler().get_executor("thread")
    remove_decision_listener(heard.append)
    assert [each.mode for each in heard] == ["thread"]


def test_observing_logs_within_the_block_only(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="unirun.scheduler")
    with observe_decisions():
        unirun.get_executor()
    unirun.get_executor()
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("unirun.scheduler", logging.INFO)
    assert "scheduler resolved auto -> thread" in record.getMessage()


def test_observing_takes_a_logger_and_a_level(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("unirun.test-observe")
    caplog.set_level(logging.DEBUG, logger=logger.name)
    with scheduler.observe_decisions(logger=logger, level=logging.DEBUG):
        unirun.get_executor()
    (record,) = caplog.records
    assert (record.name, record.levelno) == (logger.name, logging.DEBUG)
