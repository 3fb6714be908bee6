"""unirun inside a Python process: E02 of the contract, by programs that end in every way."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import sysconfig

import pytest

pytestmark = pytest.mark.native

# A Python that can go without a GIL: unirun has it switched on, and so do the programs here, without a word.
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
GIL = ["-X", "gil=1"] if FREE_THREADED else []
IS_SOUND = sys.version_info >= (3, 14) and not FREE_THREADED  # In interpreters with a GIL of their own.
HAS_INTERPRETERS = sys.version_info >= (3, 12) and not FREE_THREADED

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


def end_of(program: str, options: list[str] = GIL) -> tuple[int, str, str]:
    command = [sys.executable, "-X", "dev", *options, "-c", program]
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


@pytest.mark.parametrize("as_ctrl_c", [False, True])
def test_a18_an_interruption_is_caught_by_its_name_and_as_ctrl_c_where_that_is_asked_for(as_ctrl_c: bool) -> None:
    program = f"""
import threading, unirun
from unirun import embed
embed.initialize(num_workers=1, num_subinterp_workers=1, keyboard_interrupt={as_ctrl_c})
began = threading.Event()
def work():
    try:
        began.set()
        while True: pass
    except unirun.Interrupted as error:
        print(isinstance(error, KeyboardInterrupt), unirun.Interrupted is embed.Interrupted)
future = embed.submit(work)
began.wait()
embed.shutdown(drain=0)
print(future.result())
"""
    assert run(program).splitlines() == [f"{as_ctrl_c} True", "None"]


def test_a12_embed_has_the_functions_of_cpp_by_the_names_that_unirun_has() -> None:
    program = """
import unirun
from unirun import embed
print(embed.call is unirun.call, embed.async_call is unirun.async_call, embed.functions is unirun.functions)
try: embed.call("nothing")
except AttributeError as error: print(error)
"""
    assert run(program).splitlines() == ["True True True", "no C++ function is registered under the name 'nothing'"]


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


# ---- parallel() and execution_mode() ----

CALLS = """
import os, sys, time
from unirun import embed
"""


def test_a11_every_outcome_comes_in_order_and_one_that_fails_spoils_no_other() -> None:
    program = (
        CALLS
        + """
with embed.initialize(num_workers=1):
    calls = [("math", "factorial", (n,)) for n in range(20)]
    calls[7] = embed.Call("math", "sqrt", [-1])
    calls[8] = ("no.such", "module")
    calls[9] = embed.Call("builtins", "sorted", ([2, 3, 1],), {"reverse": True})
    outcomes = embed.parallel(calls, timeout=60)
    assert embed.parallel([]) == []
print(*outcomes[:7], *outcomes[10:])
print(type(outcomes[7]).__name__, outcomes[8].errc, outcomes[9])
"""
    )
    factorials, others = run(program).splitlines()
    assert factorials.split() == [str(math.factorial(n)) for n in (*range(7), *range(10, 20))]
    assert others == "ValueError import_failed [3, 2, 1]"


# Where they are sound "automatic" are interpreters in this process.
@pytest.mark.parametrize("mode", ["process"] if IS_SOUND else ["process", "automatic"])
def test_a11_a_call_that_takes_its_process_along_loses_itself_alone(mode: str) -> None:
    program = (
        CALLS
        + f"""
with embed.initialize(num_workers=1):
    calls = [("math", "sqrt", (9,))] * 6
    calls[2] = ("os", "abort")
    outcomes = embed.parallel(calls, timeout=60, mode={mode!r})
lost = outcomes.pop(2)
print(outcomes, lost.errc, "signal 6" in str(lost))
"""
    )
    assert run(program).strip() == "[3.0, 3.0, 3.0, 3.0, 3.0] worker_lost True"


MEETING = (
    CALLS
    + """
import tempfile
FOLDER = tempfile.mkdtemp()
with open(os.path.join(FOLDER, "meeting.py"), "w") as module:
    print('''
import os, time

def meet(folder, own, other):
    open(os.path.join(folder, own), "w").close()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if os.path.exists(os.path.join(folder, other)):
            return [os.getpid(), id(os)]
    raise TimeoutError
''', file=module)
def meet():
    return embed.parallel([("meeting", "meet", (FOLDER, a, b)) for a, b in ("xy", "yx")], timeout=60)
"""
)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="never more at once than cores")
def test_a11_two_calls_meet_in_interpreters_or_in_processes_as_the_mode_says() -> None:
    program = (
        MEETING
        + """
with embed.initialize(num_workers=1, sys_path=[FOLDER]):
    report = embed.execution_mode()
    one, two = meet()
here = os.getpid()
print(report.mode, report.gil_enabled, report.python_version == sys.version.split()[0], report.refused_modules)
print(report.reason)
print(one[0] == here, two[0] == here, one != two)
"""
    )
    mode, reason, places = run(program).splitlines()
    if IS_SOUND:
        assert mode == "subinterp True True ()"
        assert f"are sound in Python 3.{sys.version_info.minor}" in reason
        assert places == "True True True"
    else:
        assert mode == "multi_executor True True ()"
        assert ("has its GIL on" if FREE_THREADED else "GIL of their own") in reason
        assert places == "False False True"


def test_e15_before_there_is_an_executor_the_mode_is_automatic() -> None:
    assert run(CALLS + "print(embed.execution_mode().mode)").strip() == "automatic"


def test_a11_what_cannot_be_had_or_said_is_refused() -> None:
    program = (
        CALLS
        + """
def refusal(*arguments, **options):
    try: return embed.parallel(*arguments, **options)
    except Exception as error: return type(error).__name__, getattr(error, "errc", "")
print(refusal([("math", "sqrt", (9,))]))
with embed.initialize(num_workers=1):
    print(refusal([("math", "sqrt", (9,))], mode="free_threaded"))
    print(refusal([("math", "sqrt", (9,))], mode="quick"))
    print(refusal([("math", "sqrt", ("\\ud800",))]))
    print([error.errc for error in embed.parallel([("time", "sleep", (3600,))] * 2, timeout=0.01, mode="process")])
"""
    )
    assert run(program).splitlines() == [
        "('RuntimeError', 'not_initialized')",
        "('NotImplementedError', 'unsupported')",
        "('ValueError', '')",
        "('TypeError', 'conversion')",
        "['timeout', 'timeout']",
    ]


LONG = (
    MEETING
    + """
import signal, threading
embed.initialize(num_workers=1, sys_path=[FOLDER])
def begin(mode, say=print):
    calls = [("time", "sleep", (0,)), ("meeting", "meet", (FOLDER, "here", "never"))]
    try: embed.parallel(calls, mode=mode)
    except BaseException as error: say(type(error).__name__, getattr(error, "errc", ""))
assert embed.parallel([("os", "getpid")], mode="process") != [os.getpid()]
"""
)


def test_e13_a_wait_for_parallel_calls_is_named_as_long_as_it_lasts() -> None:
    program = (
        LONG
        + """
threading.Thread(target=begin, args=("process", lambda *words: None)).start()
def wait_until_named():
    while not any("parallel()" in name for chain in embed.waiting() for name in chain): time.sleep(0.001)
wait_until_named()
time.sleep(0.2)  # It looks for signals now and then, and waits on.
wait_until_named()
print("named")
"""
    )
    assert run(program).strip() == "named"


@pytest.mark.parametrize("mode", ["process", "automatic"])
@pytest.mark.parametrize("is_daemon", [False, True])
def test_a02_the_host_ends_while_calls_run_beside_one_another(mode: str, is_daemon: bool) -> None:
    # No daemon thread may write while Python ends.
    say = "lambda *words: None" if is_daemon else "print"
    program = (
        LONG
        + f"""
thread = threading.Thread(target=begin, args=({mode!r}, {say}), daemon={is_daemon})
thread.start()
while not any("parallel" in name for chain in embed.waiting() for name in chain): time.sleep(0.001)
"""
    )
    assert run(program).strip() == ("" if is_daemon else "CancelledError cancelled")


@pytest.mark.parametrize("mode", ["process", "automatic"])
def test_a11_ctrl_c_ends_the_wait_and_the_calls(mode: str) -> None:
    program = (
        LONG
        + f"""
def interrupt():
    while not any("parallel" in name for chain in embed.waiting() for name in chain): time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
begin({mode!r})
embed.shutdown()
try: print(os.waitpid(-1, os.WNOHANG))
except ChildProcessError: print("no child is left")
"""
    )
    assert run(program).splitlines() == ["KeyboardInterrupt ", "no child is left"]


def test_e15_workers_with_interpreters_are_for_calls_by_name() -> None:
    program = (
        CALLS
        + """
options = {"allow_unsafe_subinterpreters": True} if (3, 12) <= sys.version_info < (3, 14) else {}
try:
    with embed.initialize(num_workers=2, use_subinterpreters=True, **options):
        print(embed.submit(print).exception().errc, embed.parallel([("math", "sqrt", (9,))]))
except RuntimeError as error:
    print(error.errc)
with embed.initialize(num_workers=1):
    print(embed.submit(pow, 2, 3).result())
"""
    )
    returned, output, errors = end_of(program)
    assert returned == 0, errors
    expected = "wrong_interpreter [3.0]" if HAS_INTERPRETERS else "unsupported"
    assert output.splitlines() == [expected, "8"]
    assert ("corrupt the heap" in errors) == (HAS_INTERPRETERS and not IS_SOUND)


# ---- A Python that can go without a GIL ----

can_go_without = pytest.mark.skipif(not FREE_THREADED, reason="needs a free-threaded build of Python")


@can_go_without
def test_e15_the_gil_of_a_free_threaded_python_is_switched_on() -> None:
    program = """
import sys
before = sys._is_gil_enabled()
from unirun import embed
print(before, sys._is_gil_enabled())
"""
    returned, output, errors = end_of(program, options=[])
    assert (returned, output) == (0, "False True\n"), errors
    assert "to load module 'unirun._embed'" in errors


@can_go_without
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="never more at once than cores")
def test_e15_who_keeps_it_switched_off_has_threads_that_meet_and_is_warned() -> None:
    program = (
        MEETING
        + """
with embed.initialize(num_workers=2, sys_path=[FOLDER]):
    report = embed.execution_mode()
    one, two = meet()
print(report.mode, report.gil_enabled)
print(one == two == [os.getpid(), id(os)])
"""
    )
    returned, output, errors = end_of(program, options=["-X", "gil=0"])
    assert (returned, output.splitlines()) == (0, ["free_threaded False", "True"]), errors
    assert "RuntimeWarning: the GIL is off, as was asked for" in errors


# ---- Workers with interpreters, inside a host: before Python 3.14 by consent ----

# 3.12 itself corrupts its heap where interpreters come and go, and aborts where one is left behind.
needs_interpreters = pytest.mark.skipif(
    sys.version_info < (3, 13) or FREE_THREADED,
    reason="Python 3.11 and one that can go without a GIL have none, which is tested above, and 3.12 none that last",
)

# begin() initializes with them, and MEETING has the module that the calls name.
OWN = (
    MEETING
    + """
import signal, threading, warnings
warnings.simplefilter("ignore", RuntimeWarning)  # It says what the consent risks.
def begin(**options):
    own = {"use_subinterpreters": True, "allow_unsafe_subinterpreters": True}
    return embed.initialize(num_workers=2, sys_path=[FOLDER], **own, **options)
def run_for_ever(mode, say=print):
    calls = [("meeting", "meet", (FOLDER, "here", "never"))] * 4
    try: embed.parallel(calls, mode=mode)
    except BaseException as error: say(type(error).__name__, getattr(error, "errc", ""))
def wait_for_parallel():
    while not any("parallel" in name for chain in embed.waiting() for name in chain): time.sleep(0.001)
    while not os.path.exists(os.path.join(FOLDER, "here")): time.sleep(0.001)
"""
)


def ends_well(errors: str) -> bool:
    """What is interrupted may leave a file to the collector, of which development mode warns."""
    return "Fatal" not in errors and "terminate" not in errors


# The executor's own workers are multi_executor's.
OWN_MODES = ["automatic", "subinterp", "multi_executor"]


@needs_interpreters
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="never more at once than cores")
@pytest.mark.parametrize("mode", OWN_MODES)
def test_e15_by_consent_calls_meet_in_interpreters_of_the_host(mode: str) -> None:
    program = (
        OWN
        + f"""
with begin():
    report = embed.execution_mode()
    calls = [("meeting", "meet", (FOLDER, a, b)) for a, b in ("xy", "yx")]
    one, two = embed.parallel(calls, timeout=60, mode={mode!r})
print(report.mode, report.refused_modules, report.reason)
print(one[0] == two[0] == os.getpid(), len({{one[1], two[1], id(os)}}))
"""
    )
    report, places = run(program).splitlines()
    reason = "allow_unsafe_subinterpreters" if sys.version_info < (3, 14) else "are sound"
    assert report.startswith("subinterp () ") and reason in report
    assert places == "True 3"


@needs_interpreters
def test_e15_a_warning_of_the_consent_that_is_an_error_leaves_nothing_behind() -> None:
    program = (
        OWN
        + """
warnings.simplefilter("error", RuntimeWarning)
try: begin().__exit__(None, None, None)
except RuntimeWarning as warning: print("corrupt the heap" in str(warning), embed.is_initialized())
else: print("no warning")
warnings.simplefilter("ignore", RuntimeWarning)
with begin(): print(embed.parallel([("math", "sqrt", (9,))]))
"""
    )
    warned = "True False" if sys.version_info < (3, 14) else "no warning"
    assert run(program).splitlines() == [warned, "[3.0]"]


@needs_interpreters
def test_e15_a_preloaded_module_that_refuses_interpreters_has_the_host_go_on_without() -> None:
    program = (
        OWN
        + """
with begin(preload=["faulthandler"]):
    report = embed.execution_mode()
    print(report.mode, [refusal.module for refusal in report.refused_modules])
    print(embed.submit(lambda: id(os)).result() == id(os))
    print(embed.parallel([("os", "getpid")]) != [os.getpid()])
with begin(): print(embed.execution_mode().mode, embed.submit(print).exception().errc)
"""
    )
    assert run(program).splitlines() == [
        "multi_executor ['faulthandler']",
        "True",
        "True",
        "subinterp wrong_interpreter",
    ]


@needs_interpreters
def test_e01_a_host_begins_and_ends_interpreters_again_and_again() -> None:
    program = (
        OWN
        + """
def threads(): return len(os.listdir("/proc/self/task"))
before = None
for turn in range(20):
    with begin():
        for mode in ("subinterp", "multi_executor"):
            outcomes = embed.parallel([("math", "factorial", (n,)) for n in range(20)], mode=mode)
            assert outcomes[5] == 120, outcomes
    if turn == 0: before = threads()
end = time.monotonic() + 30
while threads() > before and time.monotonic() < end: time.sleep(0.001)  # The kernel's count comes late.
print(max(0, threads() - before))
"""
    )
    assert run(program).strip() == "0"


@needs_interpreters
@pytest.mark.parametrize("mode", OWN_MODES)
@pytest.mark.parametrize("ending", ENDINGS)
def test_a02_a_host_ends_while_interpreters_compute(ending: str, mode: str) -> None:
    statement, code, words = ENDINGS[ending]
    program = (
        OWN
        + f"""
begin()
threading.Thread(target=run_for_ever, args=({mode!r}, lambda *words: None), daemon=True).start()
wait_for_parallel()
"""
        + statement
    )
    # Which status Ctrl-C gives is one flag of Python's, and code that an interpreter evaluates clears it.
    codes = {code, 1} if ending == "interrupt" else {code}
    for _ in range(3):
        returned, output, errors = end_of(program)
        assert returned in codes and not output, errors
        assert words in errors and ends_well(errors), errors


@needs_interpreters
@pytest.mark.parametrize("mode", OWN_MODES)
def test_a02_a_host_ends_while_interpreters_are_stuck_in_c(mode: str) -> None:
    program = (
        OWN
        + f"""
begin()
calls = [("time", "sleep", (3600,)), ("meeting", "meet", (FOLDER, "here", "never"))]
def wait():
    try: embed.parallel(calls, mode={mode!r})
    except BaseException: pass
threading.Thread(target=wait, daemon=True).start()
wait_for_parallel()
print("the end", flush=True)
"""
    )
    for _ in range(3):
        returned, output, errors = end_of(program)
        assert (returned, output) == (0, "the end\n"), errors
        assert "Traceback" not in errors and ends_well(errors), errors


@needs_interpreters
@pytest.mark.parametrize("mode", OWN_MODES)
def test_a11_ctrl_c_ends_calls_in_interpreters_and_their_workers_serve_on(mode: str) -> None:
    program = (
        OWN
        + f"""
begin()
def interrupt():
    wait_for_parallel()
    os.kill(os.getpid(), signal.SIGINT)
threading.Thread(target=interrupt).start()
run_for_ever({mode!r})
print(embed.parallel([("math", "sqrt", (9,))] * 4, mode={mode!r}))
"""
    )
    assert run(program).splitlines() == ["KeyboardInterrupt ", "[3.0, 3.0, 3.0, 3.0]"]
