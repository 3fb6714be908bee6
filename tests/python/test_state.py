"""unirun.state: E14 of the contract, from threads, interpreters and processes of Python."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from unirun import embed, state

pytestmark = pytest.mark.native

FRESH = 20_000
PATIENCE = 120  # Seconds, for what takes a fraction of one.

INCREMENT = f"""
from unirun import state
for key in range({FRESH}): state.incr(f"fresh {{key}}")
"""

# For a program with a state of its own.
STRANGER = {name: value for name, value in os.environ.items() if name != "UNIRUN_STATE"}


@pytest.fixture(autouse=True)
def empty() -> Iterator[None]:
    yield
    state.clear()


def python(program: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", program])


def wrong_counters(value: int) -> list[str]:
    return [name for name in state.counters("fresh ") if state.counter(name).value != value]


def test_a14_values_come_back_as_they_were() -> None:
    value: dict[str, object] = {"none": None, "list": [True, 2**40, 2**63, 1.5, "text\0\u00e4", b"\xff"], "": {}}
    state["key"] = value
    assert state["key"] == value and "key" in state and len(state) == 1
    assert state.get("key") == value and state.get("other") is None and state.get("other", 7) == 7
    state.set("key", 1, ttl=3600)
    assert state["key"] == 1 and state.keys() == ["key"] and state.keys("other") == []
    del state["key"]
    with pytest.raises(KeyError, match="key"):
        state["key"]
    with pytest.raises(KeyError, match="key"):
        del state["key"]


def test_a14_what_has_expired_is_gone() -> None:
    state.set("key", 1, ttl=0)
    assert "key" not in state
    with pytest.raises(ValueError, match="ttl"):
        state.set("key", 1, ttl=-1)


def test_a14_update_passes_what_is_there_and_stores_what_comes_of_it() -> None:
    assert state.update("key", lambda value: [value]) == [None]
    assert state.update("key", lambda value: [*value, 2]) == [None, 2]
    with pytest.raises(ZeroDivisionError) as caught:
        state.update("key", lambda value: value[1] // 0)
    assert caught.traceback[-1].name == "<lambda>"
    assert state["key"] == [None, 2]
    assert not state.compare_exchange("key", [None], 3)
    assert state.compare_exchange("key", [None, 2], 3)
    assert state["key"] == 3


def test_a14_counters_count_and_wrap_around() -> None:
    assert (state.incr("fresh 0"), state.incr("fresh 0", 10), state.decr("fresh 0", 4)) == (1, 11, 7)
    counter = state.counter("fresh 0")
    assert (counter.incr(), counter.decr(2), counter.value) == (8, 6, 6)
    assert (counter.exchange(2**63 - 1), counter.incr(), counter.value) == (6, -(2**63), -(2**63))
    with pytest.raises(OverflowError):
        counter.incr(2**63)


def test_a14_bad_input_gets_the_error_that_says_so() -> None:
    state.incr("fresh 0")
    with pytest.raises(TypeError) as caught:
        state["fresh 0"] = 1
    assert caught.value.errc == "conversion"  # type: ignore[attr-defined]
    with pytest.raises(TypeError, match=r"\.a\[0\]"):
        state["key"] = {"a": [object()]}
    with pytest.raises(TypeError, match="str"):
        state[1] = 1  # type: ignore[index]
    with pytest.raises(UnicodeEncodeError):
        state["\ud800"] = 1
    with pytest.raises(TypeError, match="0 to 1"):
        state.counter("fresh 0").incr(1, 2)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        embed.Counter()
    assert len(state) == 0


def test_a14_eight_threads_increment_20000_fresh_keys_once_each() -> None:
    def increment() -> None:
        for key in range(FRESH):
            state.incr(f"fresh {key}")

    threads = [threading.Thread(target=increment) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(state.counters("fresh ")) == FRESH and wrong_counters(8) == []


def test_a14_eight_processes_increment_20000_fresh_keys_once_each() -> None:
    state["a value"] = "for the workers"
    processes = [python(INCREMENT) for _ in range(8)]
    assert [process.wait(PATIENCE) for process in processes] == [0] * 8
    assert len(state.counters("fresh ")) == FRESH and wrong_counters(8) == []


def test_a14_two_sub_interpreters_increment_20000_fresh_keys_once_each() -> None:
    program = f"""
import sys, threading
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
from unirun import state
ours = [interpreters.create() for _ in range(2)]
# Not on the threads: who imports `threading` there keeps a sub-interpreter of 3.11 from its end.
for there in ours: interpreters.run_string(there, "import unirun.embed")
run = lambda there: interpreters.run_string(there, {INCREMENT!r})
threads = [threading.Thread(target=run, args=[there]) for there in ours]
for thread in threads: thread.start()
for thread in threads: thread.join()
for there in ours: interpreters.destroy(there)
assert len(state.counters()) == {FRESH}
assert all(state.counter(name).value == 2 for name in state.counters())
"""
    assert subprocess.run([sys.executable, "-c", program], env=STRANGER, check=False).returncode == 0


def test_a14_a_worker_process_has_the_whole_map_and_its_exceptions() -> None:
    state["list"] = [1]
    program = """
from unirun import state
assert state["list"] == [1] and state.keys() == ["list"] and len(state) == 1
assert state.update("list", lambda value: value + [2]) == [1, 2]
try: state.update("list", lambda value: 1 / 0)
except ZeroDivisionError: pass
state["theirs"] = {"x": b"y" * 1_000_000}
try: state["none"]
except KeyError as error: assert error.args == ("none",)
try: state.incr("list")
except TypeError as error: assert error.errc == "conversion"
"""
    assert python(program).wait(PATIENCE) == 0
    assert state["list"] == [1, 2] and state["theirs"] == {"x": b"y" * 1_000_000}


def test_a14_a_child_that_is_forked_shares_the_map() -> None:
    program = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # The state has a thread, which is the point.
from unirun import state
state["ours"] = 1
counter = state.counter("count")
child = os.fork()
if child == 0:
    assert state["ours"] == 1 and counter.incr() == 1 and state.incr("count") == 2
    state["theirs"] = 2
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert state["theirs"] == 2 and counter.value == 2
"""
    assert python(program).wait(PATIENCE) == 0


WORKER = """
from unirun import state
counter = state.counter("count")
print(state["key"], flush=True)
input()
assert counter.incr() == 1
try: state["key"]
except Exception as error: print(error.errc, flush=True)
"""
OWNER = f"""
import subprocess, sys
from unirun import state
state["key"] = 1
subprocess.run([sys.executable, "-c", {WORKER!r}])
"""


def test_a14_a_worker_whose_owner_has_gone_is_told_and_still_counts() -> None:
    command = [sys.executable, "-c", OWNER]
    with subprocess.Popen(command, env=STRANGER, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdin is not None and owner.stdout is not None
        assert owner.stdout.readline() == b"1\n"
        owner.kill()
        owner.wait(PATIENCE)
        owner.stdin.write(b"\n")
        owner.stdin.flush()
        assert owner.stdout.readline() == b"worker_lost\n"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a14_200_writers_that_are_killed_at_any_moment_leave_the_map_readable() -> None:
    program = """
from unirun import state
for i in range(1 << 60):
    state[f"key {i % 7}"] = [i] * (i % 300)
    state.incr(f"fresh {i % 500}")
    state.update("sum", lambda value: (value or 0) + 1)
"""
    choice = random.Random(14)
    for _ in range(50):
        before = state.counter("fresh 0").value
        writers = [python(program) for _ in range(4)]
        while state.counter("fresh 0").value == before:  # One of them writes.
            time.sleep(0.001)
        time.sleep(choice.random() * 0.02)
        for writer in writers:
            writer.kill()
        for writer in writers:
            writer.wait(PATIENCE)
        for key in state.keys("key "):
            value = state[key]
            assert value == value[:1] * len(value)
        assert state.update("sum", lambda value: value) >= 0
    assert all(state.counter(name).value >= 0 for name in state.counters())
