"""Libraries that make an executor, or take one, work unchanged with `unirun.compat` under the standard names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from third_party import PROGRAMS

pytestmark = pytest.mark.native

PROGRAM = Path(__file__).with_name("third_party.py")
# Runs the program with every decision of compat told at the end, on standard error.
OBSERVED = """
import json, runpy, sys
sys.argv = sys.argv[1:]
from unirun.scheduler import add_decision_listener
traces = []
add_decision_listener(lambda trace: traces.append([trace.resolved_mode, "downgrade" in trace.codes]))
runpy.run_path(sys.argv[0], run_name="__main__")
print(json.dumps(traces), file=sys.stderr)
"""
# tqdm gives its lock to workers by an initializer, which the standard machinery runs.
DOWNGRADED = ("tqdm_threads", "tqdm_processes")


def run(name: str, mode: str | None) -> tuple[Any, list[Any], str]:
    """What the program came to, which pools compat was asked for, and what was said on standard error before."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("UNIRUN_")}
    command: list[Any] = [sys.executable, PROGRAM, name]
    if mode is not None:
        environment |= {"UNIRUN_COMPAT_INJECT": "1", "UNIRUN_COMPAT_MODE": mode}
        command[1:1] = ["-c", OBSERVED]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    said, traces = ran.stderr.strip(), []
    if mode is not None:
        *lines, last = said.splitlines()
        said, traces = "\n".join(lines), json.loads(last)
    return json.loads(ran.stdout), traces, said


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_library_comes_to_the_same_with_native_pools(name: str) -> None:
    standard, _, said_there = run(name, None)
    managed, pools, said = run(name, "managed")
    assert managed == standard
    assert standard
    assert pools
    assert all(downgraded == (name in DOWNGRADED) for _, downgraded in pools)
    if name in DOWNGRADED:
        assert "downgraded to stdlib behaviour: initializer requires stdlib executor" in said
    else:
        assert said == said_there


@pytest.mark.parametrize("name", ["dask_thread_pool", "aiofiles"])
def test_a_library_comes_to_the_same_in_passthrough(name: str) -> None:
    assert run(name, "passthrough") == (run(name, None)[0], [], "")
