"""``python -m unirun bench``."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from scopes import command, fresh
from unirun.bench import PROFILES, Result, _standard_of, main
from unirun.measure import Contender, Lap

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]

QUICK = ["--samples", "1", "--workers", "1"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_runs_on_threads(profile: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--profile", profile, "--flavor", "threads", "--json", *QUICK]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["workers"] == 1
    (*_, standard) = report["results"]
    assert (standard["profile"], standard["flavor"], standard["engine"]) == (profile, "threads", "stdlib")
    assert len(standard["seconds"]) == 1
    assert standard["times_as_fast_as_standard"] is None
    assert 0 <= standard["wait_seconds"]["p50"] <= standard["wait_seconds"]["p99"]
    assert 0 <= standard["run_seconds"]["p50"] <= standard["run_seconds"]["p99"]


def test_it_runs_on_processes_and_draws_a_picture(tmp_path: Path) -> None:
    picture = tmp_path / "times.svg"
    done = command("bench", "--profile", "tasks", "--flavor", "processes", "--plot", str(picture), *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert "against standard" in done.stdout
    texts = [text.text for text in ET.parse(picture).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert "tasks, processes, stdlib: waited" in texts
    assert "tasks, processes, stdlib: ran" in texts


def test_a_native_engine_is_held_against_the_standard_one() -> None:
    lap = Lap(1.0, 1.5, 2.5)
    native = Result("cpu", Contender("threads", "native"), [1.0, 2.0, 3.0], [lap])
    standard = Result("cpu", Contender("threads", "stdlib"), [4.0], [lap])
    other = Result("io", Contender("threads", "stdlib"), [9.0], [lap])
    assert _standard_of(native, [native, other, standard]) is standard
    assert _standard_of(standard, [native, standard]) is None
    told = native.as_dict(standard)
    assert (told["times_as_fast_as_standard"], told["median_seconds"], told["min_seconds"]) == (2.0, 2.0, 1.0)
    assert (told["wait_seconds"]["p50"], told["run_seconds"]["p99"]) == (0.5, 1.0)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--profile", "gpu"], "choose from"),
        (["--flavor", "fibers"], "choose from"),
        (["--samples", "0"], "whole number from 1 on"),
        (["--workers", "many"], "whole number from 1 on"),
        (["--plot", "times.gif"], "pictures are .svg, or .png where matplotlib is installed"),
    ],
)
def test_wrong_usage_is_told_with_code_2(wrong: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(wrong)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_is_told_with_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--profile", "tasks", "--flavor", "threads", "--plot", "/no/such/folder/times.svg", *QUICK]
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert "No such file or directory" in said.err
    assert "tasks" in said.out


def test_help_lists_the_profiles() -> None:
    done = command("bench", "--help")
    assert done.returncode == 0
    assert all(f"  {name}" in done.stdout for name in PROFILES)


@pytest.mark.native
def test_the_help_of_all_commands_lists_those_of_python() -> None:
    said = command("--help")
    assert said.returncode == 0
    assert "\n  bench  " in said.stdout
    assert "\n  doctor  " in said.stdout
