"""``python -m unirun doctor``."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

import unirun
from scopes import command, fresh
from unirun import doctor, scheduler
from unirun.measure import Contender, contenders, histogram, quantile

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]


def test_it_tells_what_is_here_what_auto_chooses_and_how_fast_it_is() -> None:
    done = command("doctor", "--seconds", "0.1", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["capabilities"]["python_version"] == list(sys.version_info[:3])
    assert report["config"]["mode"] == "auto"
    assert [choice["said"] for choice in report["auto"]][:2] == ["nothing", "cpu_bound=True"]
    measured = [(row["flavor"], row["engine"]) for row in report["calibration"]]
    assert measured == [tuple(each) for each in contenders(unirun.detect_capabilities())]
    for row in report["calibration"]:
        assert row["start_seconds"] > 0
        assert 0 < row["round_trip_seconds"]["p50"] <= row["round_trip_seconds"]["p99"]
        assert row["tasks_per_second"] > 0
        assert row["speedup"] > 0
        assert row["class"].endswith("PoolExecutor")


def test_it_reads_as_text_and_measures_nothing_in_no_time() -> None:
    done = command("doctor", "--seconds", "0")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"Python {sys.version.split()[0].rstrip('+')}")
    assert "What auto chooses" in done.stdout
    assert "What the engines do" not in done.stdout


@pytest.mark.parametrize("wrong", [["--seconds", "-1"], ["--seconds", "soon"], ["--colour"], ["more"]])
def test_wrong_usage_is_told_with_code_2(wrong: list[str]) -> None:
    done = command("doctor", *wrong)
    assert done.returncode == 2
    assert "usage: python -m unirun doctor" in done.stderr


def test_help_says_what_it_is_for() -> None:
    done = command("doctor", "--help")
    assert done.returncode == 0
    assert "what auto chooses and why" in done.stdout


def test_the_environment_counts() -> None:
    report = json.loads(command("doctor", "--seconds", "0", "--json", UNIRUN_FORCE_PROCESS="1").stdout)
    assert {choice["mode"] for choice in report["auto"]} == {"process"}
    assert {choice["code"] for choice in report["auto"]} == {"forced_process"}


def test_what_it_says_of_auto_is_what_auto_does() -> None:
    for choice in doctor.examine(0)["auto"]:
        if choice["said"] == "prefers_subinterpreters=True":
            continue  # Opening those may warn; test_scheduler.py has them.
        name, _, _ = choice["said"].partition("=")
        hints: Any = {} if name == "nothing" else {name: True}
        lease = scheduler.lease_executor(**hints)
        lease.executor.shutdown()
        assert (lease.trace.resolved_mode, lease.trace.codes[0]) == (choice["mode"], choice["code"])
        assert lease.trace.max_workers == choice["workers"]


def test_calibration_is_told_as_a_table() -> None:
    row = doctor.calibrate(Contender("threads", "stdlib"), 0.01)
    text = doctor.as_text({**doctor.examine(0), "calibration": [row]})
    title, head, line = text.splitlines()[-3:]
    assert title == "What the engines do on this machine"
    assert head.split()[:3] == ["flavor", "engine", "start"]
    assert line.split()[:2] == ["threads", "stdlib"]


def test_only_engines_that_are_here_contend() -> None:
    capabilities = unirun.detect_capabilities()
    flavors = {each.flavor for each in contenders(capabilities)}
    assert {"threads", "processes"} <= flavors
    assert ("interpreters" in flavors) is capabilities.subinterpreters_safe
    with Contender("threads", "stdlib").open(1) as executor:
        assert type(executor).__module__ == "concurrent.futures.thread"


def test_quantiles_and_histograms_hold_every_value() -> None:
    assert quantile([], 0.5) == 0.0
    assert [quantile([3, 1, 2], share) for share in (0, 0.5, 1)] == [1, 2, 3]
    counted = histogram([0.0, 1e-6, 1.5e-6, 1e9])
    assert [number for _, number in counted if number] == [2, 1, 1]
    assert counted[0] == (1e-6, 2)
    assert counted[-1][1] == 1
