"""unirun inside a Python process: E02 of the contract, by programs that end in every way."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.native

PATIENCE = 60  # Seconds, for what takes a fraction of one.

BEGIN = """
import os, signal, sys, threading, time
from unirun import embed
embed.initialize(num_workers=4)
futures = [embed.submit(time.sleep, {seconds}) for _ in range(1000)]
"""
STATISTICS = """
from unirun import embed
with embed.initialize(num_workers=2):
    futures = [embed.submit(int, "x" if n % 4 == 0 else "1") for n in range(100)]
    failed = sum(future.exception() is not None for future in futures)
    stats, text = embed.stats(), embed.prometheus_text()
ends = ("tasks_executed", "tasks_failed", "cancelled", "timed_out", "rejected", "tasks_queued", "running")
assert stats["submitted"] == sum(stats[end] for end in ends) == 100, stats
assert failed == 25, failed
assert len(stats["per_worker"]) == stats["workers"] == 2, stats
assert 0 <= stats["queue_wait"]["p50_ns"] <= stats["queue_wait"]["p99_ns"] <= stats["queue_wait"]["max_ns"], stats
assert stats["gil_wait"]["count"] > 0, stats
assert "unirun_python_tasks_submitted_total 100\\n" in text, text
assert 'unirun_python_execution_seconds_bucket{le="+Inf"}' in text, text
"""
ENDINGS = {
    "return": ("", 0, ""),
    "exit": ("sys.exit(3)", 3, ""),
    "exception": ("raise ValueError('the end')", 1, "ValueError: the end"),
    "interrupt": ("os.kill(os.getpid(), signal.SIGINT)\ntime.sleep(3600)", -signal.SIGINT, "KeyboardInterrupt"),
}


def end_of(program: str) -> tuple[int, str, str]:
    command = [sys.executable, "-X", "dev", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seconds", [0.01, 3600])
@pytest.mark.parametrize("ending", ENDINGS)
def test_a02_200_programs_with_1000_sleeping_tasks_end_as_they_should(ending: str, seconds: float) -> None:
    statement, code, words = ENDINGS[ending]
    program = BEGIN.format(seconds=seconds) + statement
    for _ in range(25):
        returned, output, errors = end_of(program)
        assert (returned, output) == (code, ""), errors
        assert (words in errors) if words else not errors
        assert "Fatal" not in errors and "terminate" not in errors


def run(program: str) -> str:
    returned, output, errors = end_of(program)
    assert returned == 0 and not errors, errors
    return output


def test_a02_what_waits_when_the_program_ends_is_cancelled_and_what_runs_is_interrupted() -> None:
    program = """
import atexit, threading
from concurrent.futures import CancelledError
from unirun import embed
embed.initialize(num_workers=1)
began = threading.Event()
def work():
    try:
        began.set()
        while True: pass
    finally:
        print("finally")
running = embed.submit(work)
waiting = embed.submit(print, "never")
began.wait()
@atexit.register
def look():
    print(type(running.exception()).__name__, waiting.cancelled(), embed.is_initialized())
    print(embed.submit(print).exception().errc)
    try: embed.initialize()
    except RuntimeError as error: print(error.errc)
"""
    assert run(program).splitlines() == ["finally", "Interrupted True False", "finalized", "finalized"]


def test_a02_threads_that_python_waits_for_end_with_the_executor_gone() -> None:
    program = """
import threading
from unirun import embed
embed.initialize(num_workers=2)
def go_on():
    threading.main_thread().join()
    while embed.is_initialized(): pass
    print(embed.submit(print).exception().errc)
threading.Thread(target=go_on).start()
"""
    assert run(program).strip() in {"not_initialized", "finalized"}


def test_a02_a_forked_child_sees_no_executor_and_can_have_its_own() -> None:
    program = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # It has threads, which is the point.
from unirun import embed
embed.initialize(num_workers=2)
assert embed.submit(pow, 2, 10).result() == 1024
child = os.fork()
if child == 0:
    assert not embed.is_initialized()
    assert embed.submit(pow, 2, 3).exception().errc == "not_initialized"
    with embed.initialize(num_workers=2):
        assert embed.submit(pow, 2, 3).result() == 8
    embed.initialize(num_workers=1)
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert embed.submit(pow, 2, 11).result() == 2048
"""
    run(program)


def test_a02_a_sub_interpreter_cannot_attach_the_host() -> None:
    program = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from unirun import embed
there = interpreters.create()
interpreters.run_string(there, '''
from unirun import embed
try: embed.initialize()
except RuntimeError as error: print(error.errc, flush=True)
''')
interpreters.destroy(there)
"""
    assert run(program).strip() == "wrong_interpreter"


def test_a16_python_reads_what_the_executor_has_done_and_its_text() -> None:
    assert end_of(STATISTICS) == (0, "", "")
