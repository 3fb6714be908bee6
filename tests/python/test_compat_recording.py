"""Recordings of a program's calls, and their comparison: the standard library against managed mode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import process
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from compat_programs import PATIENCE, environment
from unirun.compat.record import call_of, name_of, shortened
from unirun.compat.replay import NoRecording, compare, main, read, render

PROGRAM = """
    import sys, threading
    from unirun.compat import asyncio
    from unirun.compat.concurrent import futures

    secret = "the secret"

    def double(number):
        return number * 2

    def fail(text):
        raise LookupError(text)

    class Work:
        def run(self):
            return b"done"

    async def main():
        return await asyncio.gather(asyncio.to_thread(double, 4), asyncio.to_thread(double, number=5))

    if __name__ == "__main__":
        with futures.ThreadPoolExecutor(2) as pool:
            assert list(pool.map(double, range(3))) == [0, 2, 4]
            assert isinstance(pool.submit(fail, secret).exception(), LookupError)
            assert pool.submit(Work().run).result() == b"done"
            blocked = threading.Event()
            running = [pool.submit(blocked.wait) for _ in range(2)]
            assert pool.submit(double, 7).cancel()
            blocked.set()
        try:
            pool.submit(double, 8)
        except RuntimeError:
            pass
        with futures.ProcessPoolExecutor(1) as processes:
            assert list(processes.map(double, range(4), chunksize=2)) == [0, 2, 4, 6]
        assert asyncio.run(main()) == [8, 10]
        print("ok")
"""
OUTCOMES = {
    ("thread", "__main__.double", "result", "int"): 5,  # Three by map(), two by to_thread().
    ("thread", "__main__.double", "cancelled", None): 1,
    ("thread", "__main__.double", "refused", "RuntimeError"): 1,
    ("thread", "__main__.fail", "error", "LookupError"): 1,
    ("thread", "__main__.Work.run", "result", "bytes"): 1,
    ("thread", "threading.Event.wait", "result", "bool"): 2,
    ("process", "__main__.double", "result", "list"): 2,
}


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(dedent(PROGRAM))
    return path


def record(script: Path, recording: Path | str, mode: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, script],
        env=environment(UNIRUN_COMPAT_MODE=mode, UNIRUN_COMPAT_RECORD=str(recording), **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def rows(recording: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in recording.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["managed", "passthrough"])
def test_every_call_is_recorded_with_its_outcome_and_its_time(mode: str, script: Path, tmp_path: Path) -> None:
    recording = tmp_path / "calls.jsonl"
    done = record(script, recording, mode)
    assert (done.stdout, done.stderr) == ("ok\n", "")
    counted: dict[tuple[Any, ...], int] = {}
    for row in rows(recording):
        key = (row["pool"], row["function"], row["outcome"], row.get("type"))
        counted[key] = counted.get(key, 0) + 1
        assert row["mode"] == mode and row["seconds"] >= 0 and row["at"] > 1e9
        assert row["engine"] == ("native" if mode == "managed" else "standard")
    assert counted == OUTCOMES


def test_no_argument_and_no_message_is_recorded_unless_asked_for(script: Path, tmp_path: Path) -> None:
    recording = tmp_path / "calls.jsonl"
    record(script, recording, "managed")
    assert "the secret" not in recording.read_text()
    assert recording.stat().st_mode & 0o077 == 0
    record(script, recording, "managed", UNIRUN_COMPAT_RECORD_ARGUMENTS="1")
    assert {"('the secret')", "(4)", "(number=5)"} <= {row.get("arguments") for row in rows(recording)}


def test_a_whole_program_is_recorded_when_compat_is_injected(tmp_path: Path) -> None:
    recording = tmp_path / "calls.jsonl"
    script = tmp_path / "program.py"
    standard = dedent(PROGRAM).replace("from unirun.compat import asyncio", "import asyncio")
    script.write_text(standard.replace("unirun.compat.concurrent", "concurrent"))
    for mode in ("managed", "passthrough"):
        done = record(script, recording, mode, UNIRUN_COMPAT_INJECT="1")
        assert (done.stdout, done.stderr) == ("ok\n", "")
    assert all(each.same for each in compare(read([str(recording)])))
    assert {row["mode"] for row in rows(recording)} == {"managed", "passthrough"}


def test_a_file_that_cannot_be_written_is_told_and_the_program_goes_on(script: Path, tmp_path: Path) -> None:
    done = record(script, tmp_path / "nowhere" / "calls.jsonl", "managed")
    assert done.stdout == "ok\n"
    assert "calls.jsonl cannot be written, so nothing more is recorded: No such file or directory" in done.stderr
    if os.path.exists("/dev/full"):
        full = record(script, "/dev/full", "managed")
        assert full.stdout == "ok\n"
        assert full.stderr.count("No space left on device") == 1


def test_names_of_functions() -> None:
    assert name_of(dedent) == "textwrap.dedent"
    assert name_of(int) == "builtins.int"
    assert name_of([].append) == "builtins.list.append"


def test_what_is_wrapped_around_a_call_is_looked_through() -> None:
    from contextvars import copy_context
    from functools import partial

    twice = partial(partial(subprocess.run, ["ls"]), check=True)
    assert call_of(twice, (1,), {"text": True}) == (subprocess.run, (["ls"], 1), {"check": True, "text": True})
    assert call_of(partial(copy_context().run, dedent, "x"), (), {}) == (dedent, ("x",), {})
    assert call_of(dedent, ("x",), {}) == (dedent, ("x",), {})
    assert call_of(process._process_chunk, (dedent, ["x"]), {}) == (dedent, (["x"],), {})


def test_arguments_are_shortened_and_may_have_no_repr() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError

    assert shortened((Mute(), 1), {"name": "x" * 300}) == f"(<Mute: RuntimeError in its repr>, 1, name='{'x' * 199}...)"


# ---- Comparison ----


def line(mode: str, **more: Any) -> dict[str, Any]:
    row = {"mode": mode, "pool": "thread", "engine": "native", "function": "m.f", "outcome": "result", "type": "int"}
    return {**row, "at": 0.0, "seconds": 0.001, **more}


def write(path: Path, *found: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in found))
    return str(path)


def test_two_recordings_of_a_program_are_the_same(
    script: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / "standard.jsonl", tmp_path / "managed.jsonl"]
    for path, mode in zip(paths, ("std", "managed"), strict=True):
        record(script, path, mode)
    assert main([str(path) for path in paths]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "5 kinds of calls, 0 with other outcomes"


def test_other_outcomes_are_a_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = write(
        tmp_path / "calls.jsonl",
        line("passthrough", seconds=0.004),
        line("passthrough", seconds=0.004),
        line("managed", seconds=0.002),
        line("managed", outcome="error", type="KeyError", engine="standard"),
    )
    assert main([recording]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "DIFFERS  thread m.f",
        "  standard  2 x result int; median 4.000 ms, p99 4.000 ms",
        "  managed   1 x error KeyError, 1 x result int; median 2.000 ms, p99 2.000 ms, 1 on the standard machinery",
        "            the median call is 2.00 times as fast",
        "1 kinds of calls, 1 with other outcomes",
    ]
    assert main([recording, "--json"]) == 1
    (told,) = json.loads(capsys.readouterr().out)
    assert told["managed"]["outcomes"] == {"error KeyError": 1, "result int": 1} and told["times_faster"] == 2.0


def test_calls_are_told_apart_by_their_arguments_where_there_are_some() -> None:
    found = compare([line(mode, arguments=f"({n})") for mode in ("managed", "passthrough") for n in range(2)])
    assert [each.name for each in found] == ["thread m.f(0)", "thread m.f(1)"]
    assert "2 kinds of calls, 0 with other outcomes" in render(found)


def test_a_slower_call_is_a_difference_if_asked_for(tmp_path: Path) -> None:
    recording = write(tmp_path / "calls.jsonl", line("passthrough", seconds=0.001), line("managed", seconds=0.003))
    assert main([recording]) == 0
    assert main([recording, "--slower", "2"]) == 1
    assert main([recording, "--slower", "4"]) == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense\n", "calls.jsonl:1: no line of a recording: Expecting value"),
        ('{"mode": "managed"}\n', "calls.jsonl:1: no line of a recording: it has no pool, outcome, seconds"),
        (json.dumps(line("other")) + "\n", "mode 'other' is not one of passthrough, managed"),
        (json.dumps(line("managed")) + "\n", "no call was recorded with UNIRUN_COMPAT_MODE=passthrough"),
        ("[1]\n", "calls.jsonl:1: no line of a recording"),
    ],
)
def test_what_is_no_recording_is_told_with_its_line(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(text)
    assert main([str(path)]) == 2
    assert message in capsys.readouterr().err
    with pytest.raises(NoRecording):
        compare(read([str(path)]))


def test_a_missing_file_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main([str(tmp_path / "nothing")]) == 2
    assert capsys.readouterr().err.endswith("nothing: No such file or directory\n")


def test_a_line_that_its_process_could_not_end_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    path.write_text(json.dumps(line("managed")) + "\n" + json.dumps(line("passthrough")) + '\n{"mode": "man')
    assert [each.same for each in compare(read([str(path)]))] == [True]


def test_it_runs_as_a_module(tmp_path: Path) -> None:
    recording = write(tmp_path / "calls.jsonl", line("passthrough"), line("managed"))
    done = subprocess.run(
        [sys.executable, "-m", "unirun.compat.replay", recording],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0 and done.stdout.startswith("same     thread m.f\n"), done.stderr
