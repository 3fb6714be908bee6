"""A native engine that cannot start at its first call: the standard machinery takes its place in the same executor."""

from __future__ import annotations

import os

import pytest

from scopes import in_a_new_process

# Small stacks, so that threads need little of what is left; and all modules are there before anything is short.
SHORT_OF_MEMORY = """
import os, resource, threading, warnings
import concurrent.futures, unirun
from unirun import Run, RuntimeConfig
from unirun.executors.processes import ProcessPoolExecutor

threading.stack_size(256 * 1024)
with Run(flavor="processes", max_workers=1) as warm:
    warm.submit(abs, -1).result(60)

def leave(mebibytes):
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + mebibytes * 2**20, resource.RLIM_INFINITY))

def leave_all():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


def told_by(script: str) -> list[str]:
    """The lines that a new interpreter prints, which tells no error."""
    done = in_a_new_process(SHORT_OF_MEMORY + script)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_without_memory_to_share_the_standard_machinery_serves_the_same_executor() -> None:
    assert told_by("""
told = []
unirun.add_decision_listener(told.append)
scope = Run(flavor="processes", max_workers=2)
with warnings.catch_warnings(record=True) as caught, scope as executor:
    warnings.simplefilter("always")
    before = scope.trace.codes
    leave(16)
    print(executor.submit(abs, -1).result(60), sum(executor.map(abs, range(-9, 1))))
    print(type(executor).__name__, isinstance(executor, concurrent.futures.ProcessPoolExecutor))
print(before, scope.trace.codes, [each.codes == scope.trace.codes for each in told])
print(scope.trace is unirun.last_decision(), "class: the native process engine cannot start" in scope.trace.reason)
print(len(caught), caught[0].category, caught[0].filename, "cannot start: OSError(12" in str(caught[0].message))
print(scope.metrics.submitted, scope.metrics.completed, scope.metrics.run_seconds.count)
""") == [
        "1 45",
        "ProcessPoolExecutor True",
        "('requested',) ('requested', 'engine_fallback') [False, True]",
        "True True",
        "1 <class 'RuntimeWarning'> <string> True",
        "11 11 11",
    ]


def test_whoever_wants_the_trace_is_told_of_the_change() -> None:
    assert told_by("""
warnings.simplefilter("ignore")
told, mine = [], unirun.DecisionTrace(mode="", hints={}, resolved_mode="", reason="")
one, two = Run(flavor="processes", trace=told.append), Run(flavor="processes", max_workers=2, trace=mine)
with one as first, two as second:
    leave(16)
    print([pool.submit(abs, -1).result(60) for pool in (first, second)])
print([each.codes for each in told], mine.codes)
""") == ["[1, 1]", "[('requested',), ('requested', 'engine_fallback')] ('requested', 'engine_fallback')"]


def test_a_shared_pool_says_so_to_whoever_comes_later() -> None:
    assert told_by("""
warnings.simplefilter("ignore")
leave(16)
pool = unirun.process_executor(max_workers=1)
print(pool.submit(abs, -1).result(60), unirun.get_executor("process", max_workers=1) is pool)
print(unirun.last_decision().codes)
""") == ["1 True", "('requested', 'engine_fallback')"]


def test_no_call_of_many_threads_is_lost() -> None:
    assert told_by("""
warnings.simplefilter("ignore")
leave(16)
results = []
with ProcessPoolExecutor(2) as pool:
    threads = [threading.Thread(target=lambda: results.append(pool.submit(abs, -1).result(60))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(results)
""") == ["[1, 1, 1, 1, 1, 1, 1, 1]"]


def test_one_worker_is_enough_to_go_on() -> None:
    assert told_by("""
warnings.simplefilter("error")
with ProcessPoolExecutor(3, unirun.executors.processes.multiprocessing.get_context("fork")) as pool:
    leave(42)  # Two maps of one worker's memory fit, and no third.
    print(pool.submit(abs, -1).result(60), list(pool.map(abs, [-2, -3])), len(pool._processes))
""") == ["1 [2, 3] 1"]


def test_what_only_the_engine_does_is_not_dropped_in_silence() -> None:
    assert told_by("""
with Run(flavor="processes", max_workers=1, task_timeout=60) as pool:
    leave(16)
    try:
        pool.submit(abs, -1)
    except OSError as error:
        print(error.errno, error.__notes__)
    leave_all()
    print(pool.submit(abs, -1).result(60), pool._engine is not None)
""") == ["12 ['on_worker_crash and task_timeout need the native process engine, which cannot start']", "1 True"]


def test_where_neither_can_start_it_is_told_and_may_be_tried_again() -> None:
    assert told_by("""
with Run(flavor="processes", max_workers=2) as pool:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))) + 1, hard))
    try:
        while True:
            taken.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        pass
    try:
        pool.submit(abs, -1)
    except OSError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    print(pool.submit(abs, -1).result(60), pool._engine is not None)
""") == ["[Errno 24] Too many open files", "1 True"]


LIMITED = """
for end in list(concurrent.futures.process.mp.util._finalizer_registry.values()):
    end()  # What the warm pool has left is the first user's to remove.
if os.getuid() == 0:  # Whom limits do not bind.
    os.setgid(64321)
    os.setuid(64321)
soft, hard = resource.getrlimit(resource.RLIMIT_NPROC)
with {pool} as pool:
    resource.setrlimit(resource.RLIMIT_NPROC, (0, hard))
    try:
        pool.submit(abs, -1)
    except Exception as error:
        print(type(error).__name__, error)
    resource.setrlimit(resource.RLIMIT_NPROC, (soft, hard))
    print({again})
"""


@pytest.mark.skipif(os.getuid() != 0, reason="another user's processes count, too")
@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("ThreadPoolExecutor", "RuntimeError can't start new thread"),
        ("ProcessPoolExecutor", "BlockingIOError [Errno 11] Resource temporarily unavailable"),
    ],
)
def test_without_another_thread_or_process_it_is_told_as_by_the_standard_class(kind: str, said: str) -> None:
    fork = ", concurrent.futures.process.mp.get_context('fork')" if kind.startswith("Process") else ""
    flavor = "threads" if kind.startswith("Thread") else "processes"
    ours = LIMITED.format(
        pool=f"__import__('unirun.executors.{flavor}', fromlist=['']).{kind}(1{fork})",
        again="pool.submit(abs, -1).result(60)",
    )
    assert told_by(ours) == [said, "1"]
    # The standard one is not tried again: it has kept the first call, and may be without its threads.
    theirs = LIMITED.format(pool=f"concurrent.futures.{kind}(1{fork})", again="'', flush=True)\n    os._exit(0")
    assert told_by(theirs) == [said, ""]
