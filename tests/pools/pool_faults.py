"""What goes wrong in a pool: the rows of the table. Each is a scene that is played in an interpreter of its own.

A scene gives back what happened as a list of strings; what its tasks told and what was written to stderr are
compared as well. What must be true whatever the standard library does, a scene asserts itself.
"""

from __future__ import annotations

import atexit
import gc
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from typing import Any

import pool_tasks as tasks
from pool_engines import executor_class
from pool_tasks import PATIENCE

Outcome = list[str]


@dataclass(frozen=True)
class Difference:
    """That ours ends otherwise under a flavor: why, and what the parts that differ must match."""

    why: str
    parts: dict[str, str]


@dataclass(frozen=True)
class Fault:
    """A row of the table."""

    name: str  # A sentence.
    play: Callable[[Scene], Outcome]
    not_for: dict[str, str]  # Flavors that it can't apply to, and why.
    meant: dict[str, Difference]
    slow: bool


FAULTS: dict[str, Fault] = {}
KEPT: list[Executor] = []  # To the interpreter's end.
NO_PROCESS = "nobody can kill a thread of a process"


def fault(
    *, slow: bool = False, meant: dict[str, Difference] | None = None, **not_for: str
) -> Callable[[Callable[[Scene], Outcome]], Callable[[Scene], Outcome]]:
    """Add a row, named by its function."""

    def add(play: Callable[[Scene], Outcome]) -> Callable[[Scene], Outcome]:
        FAULTS[play.__name__] = Fault(play.__name__.replace("_", " "), play, not_for, meant or {}, slow)
        return play

    return add


@dataclass
class Scene:
    """One fault in one pool; ``directory`` is for files that tasks talk through."""

    engine: str
    flavor: str
    directory: str
    callbacks: list[str] = field(default_factory=list)

    def pool(self, workers: int = 2, **arguments: Any) -> Executor:
        return executor_class(self.engine, self.flavor)(workers, **arguments)  # type: ignore[call-arg]

    def file(self, name: str) -> str:
        return os.path.join(self.directory, name)

    def signal(self, name: str) -> None:
        tasks.tell(self.file(name), "go")


def told(future: Future[Any]) -> str:
    """How a future ended, in one line without what differs from run to run."""
    try:
        value = future.result(PATIENCE)
    except BaseException as error:
        cause = type(error.__cause__).__name__ if error.__cause__ is not None else "nothing"
        return f"{type(error).__name__}: {without_addresses(str(error))} (from {cause})"
    return f"returned {without_addresses(repr(value))}"


def raised(act: Callable[[], object]) -> str:
    try:
        return f"returned {type(act()).__name__}"
    except BaseException as error:
        return f"{type(error).__name__}: {without_addresses(str(error))}"


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def eventually(true_by_now: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE
    while not true_by_now():
        if time.monotonic() > deadline:
            return true_by_now()
        time.sleep(0.005)
    return True


def fails_and_goes_on(scene: Scene, function: Callable[..., object], *arguments: object) -> Outcome:
    """One task that fails, and what becomes of the next one."""
    with scene.pool() as pool:
        first = told(pool.submit(function, *arguments))
        assert pool.submit(tasks.same, 5).result(PATIENCE) == 5
        return [first]


def children() -> list[int]:
    """The processes that this one has started and that are not gone."""
    with open(f"/proc/{os.getpid()}/task/{os.getpid()}/children", encoding="ascii") as listed:
        return [int(pid) for pid in listed.read().split()]


def break_pool(pool: Executor) -> str:
    """Submit until the pool itself says that it is broken; what it says."""
    said = ""

    def refused() -> bool:
        nonlocal said
        try:
            future = pool.submit(tasks.same, 1)
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
            return True
        told(future)
        return False

    assert eventually(refused)
    return said


# ---- What a task does ----


@fault()
def an_exception_is_raised_by_result(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.raise_named, "ValueError", "no such job")


@fault()
def a_system_exit_is_raised_by_result_and_ends_nobody(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.raise_named, "SystemExit", "3")


@fault()
def a_keyboard_interrupt_is_raised_by_result_and_ends_nobody(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.raise_named, "KeyboardInterrupt", "enough")


@fault()
def an_argument_that_cannot_be_pickled_fails_its_task(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.kind_of, threading.Lock())


@fault()
def a_lambda_fails_its_task_where_it_cannot_be_pickled(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, lambda: 7)


@fault(
    meant={
        "interpreters": Difference(
            "ours says what cannot be carried home, and why",
            {"outcome": "NotShareableError: the result, of type lock, cannot be carried home: TypeError: .*"},
        )
    }
)
def a_result_that_cannot_be_pickled_fails_its_task(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.return_what_cannot_be_pickled)


@fault(
    meant={
        "interpreters": Difference(
            "ours tells it by its text to who waits for it, and nobody else",
            {"outcome": "ExecutionFailed: ValueError: .*", "stderr": ""},
        )
    }
)
def an_exception_that_cannot_be_pickled_fails_its_task(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.raise_what_cannot_be_pickled)


@fault(
    meant={
        "interpreters": Difference(
            "ours tells the task's exception by its text, and not that it could not be carried",
            {"outcome": "ExecutionFailed: .*Refusing: no: I won't.*"},
        )
    }
)
def an_exception_that_cannot_be_unpickled_is_told(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        return [told(pool.submit(tasks.raise_what_cannot_be_unpickled))]


@fault()
def a_wrong_call_fails_its_task(scene: Scene) -> Outcome:
    return fails_and_goes_on(scene, tasks.same)


@fault(slow=True)
def a_result_of_a_gibibyte_arrives_whole(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        result = pool.submit(tasks.return_mebibytes, 1024).result(600)
        assert len(result) == 1 << 30
        return [str(result.count(b"x") == len(result)), told(pool.submit(tasks.same, 5))]


@fault()
def a_task_may_have_a_pool_of_its_own(scene: Scene) -> Outcome:
    with scene.pool() as pool:
        nested = [pool.submit(tasks.in_a_pool_of_its_own, scene.engine, scene.flavor, value) for value in range(3)]
        return [told(future) for future in nested]


@fault(processes="a worker has no hold of its pool", interpreters="a worker has no hold of its pool")
def a_task_may_submit_to_its_own_pool(scene: Scene) -> Outcome:
    with scene.pool() as pool:
        inner = pool.submit(lambda: pool.submit(tasks.same, 7)).result(PATIENCE)
        return [told(inner)]


# ---- What becomes of a worker ----


@fault(threads=NO_PROCESS, interpreters=NO_PROCESS)
def a_worker_killed_before_its_task_breaks_the_pool(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        worker = pool.submit(os.getpid).result(PATIENCE)
        os.kill(worker, signal.SIGKILL)
        said = break_pool(pool)
    assert eventually(lambda: worker not in children())
    return [said]


@fault(threads=NO_PROCESS, interpreters=NO_PROCESS)
def a_worker_killed_during_its_task_fails_it_and_all_that_wait(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        running = pool.submit(tasks.tell_pid_and_wait, scene.file("pid"), scene.file("go"))
        waiting = [pool.submit(tasks.same, value) for value in range(20)]
        worker = int(tasks.await_file(scene.file("pid")))
        assert worker != os.getpid()
        os.kill(worker, signal.SIGKILL)
        ends = {told(future) for future in [running, *waiting]}
        return [*sorted(ends), break_pool(pool)]


@fault(threads=NO_PROCESS, interpreters=NO_PROCESS)
def a_worker_killed_after_its_task_takes_no_result_back(scene: Scene) -> Outcome:
    with scene.pool(2) as pool:
        done = [pool.submit(tasks.same, value) for value in range(20)]
        assert [future.result(PATIENCE) for future in done] == list(range(20))
        worker = pool.submit(os.getpid).result(PATIENCE)
        os.kill(worker, signal.SIGKILL)
        said = break_pool(pool)
        return [said, *(told(future) for future in done[-2:])]


@fault(threads=NO_PROCESS, interpreters=NO_PROCESS)
def a_worker_that_leaves_by_itself_breaks_the_pool(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        return [told(pool.submit(tasks.tell_and_exit, scene.file("pid"))), break_pool(pool)]


@fault(threads=NO_PROCESS, interpreters=NO_PROCESS)
def no_worker_outlives_a_broken_pool(scene: Scene) -> Outcome:
    pool = scene.pool(3)
    workers = [pool.submit(tasks.tell_pid_and_wait, scene.file(f"pid-{n}"), scene.file("go")) for n in range(3)]
    pids = [int(tasks.await_file(scene.file(f"pid-{n}"))) for n in range(3)]
    os.kill(pids[1], signal.SIGKILL)
    ends = sorted({told(future) for future in workers})
    assert eventually(lambda: not set(pids) & set(children()))
    pool.shutdown()
    return ends


@fault(
    meant={
        "interpreters": Difference(
            "the same is logged, without the frames of the standard pool",
            {"stderr": "Exception in initializer:\n.*ValueError: no room in here.*"},
        )
    }
)
def an_initializer_that_raises_breaks_the_pool(scene: Scene) -> Outcome:
    with scene.pool(1, initializer=tasks.fail_to_initialize) as pool:
        # Which of the two says it depends on who is first.
        first = raised(lambda: pool.submit(tasks.same, 1).result(PATIENCE)).partition(":")[0]
        return [first, break_pool(pool)]


@fault()
def fork_while_busy_leaves_both_sides_whole(scene: Scene) -> Outcome:
    with scene.pool(2) as pool:
        busy = pool.submit(tasks.tell_pid_and_wait, scene.file("busy"), scene.file("go"))
        waiting = [pool.submit(tasks.same, value) for value in range(50)]
        tasks.await_file(scene.file("busy"))
        # A thread of the standard pool may hold this lock, which would then be nobody's in the child.
        with pool._shutdown_lock:  # type: ignore[attr-defined]
            child = os.fork()
        if child == 0:
            # A pool of its own, and an end with all exit handlers; multiprocessing has its own words there.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with scene.pool(1) as own:
                assert own.submit(tasks.same, 5).result(PATIENCE) == 5
            sys.exit(9)
        _, status = os.waitpid(child, 0)
        scene.signal("go")
        assert [future.result(PATIENCE) for future in waiting] == list(range(50))
        return [told(busy), f"the child ended with {os.waitstatus_to_exitcode(status)}"]


# ---- How a pool ends ----


def tell_lines(scene: Scene, pool: Executor, count: int) -> None:
    for number in range(count):
        pool.submit(tasks.tell, scene.file("told"), f"line {number}")


@fault()
def the_interpreter_ends_when_pending_work_is_done(scene: Scene) -> Outcome:
    pool = scene.pool()
    tell_lines(scene, pool, 200)
    KEPT.append(pool)
    return ["left"]


@fault()
def the_interpreter_ends_when_pending_work_is_done_after_shutdown_without_wait(scene: Scene) -> Outcome:
    pool = scene.pool()
    tell_lines(scene, pool, 200)
    pool.submit(time.sleep, 2.0)  # So that it is at work when the interpreter ends: see below.
    pool.shutdown(wait=False)
    return ["left"]


@fault()
def a_dropped_pool_does_its_work_and_lets_its_workers_go(scene: Scene) -> Outcome:
    pool = scene.pool()
    futures = [pool.submit(tasks.same, value) for value in range(100)]
    del pool
    gc.collect()
    assert [future.result(PATIENCE) for future in futures] == list(range(100))
    assert eventually(lambda: threading.active_count() == 1), threading.enumerate()
    assert eventually(lambda: not multiprocessing.active_children())
    return ["all done, nobody left"]


@fault()
def a_pool_dropped_unused_leaves_nothing(scene: Scene) -> Outcome:
    scene.pool()
    gc.collect()
    assert eventually(lambda: threading.active_count() == 1), threading.enumerate()
    # Where pools do not fork, the standard one has multiprocessing's resource tracker started for its locks.
    tracker = getattr(resource_tracker._resource_tracker, "_pid", None)
    assert [pid for pid in children() if pid != tracker] == []
    return ["nobody left"]


@fault()
def submit_after_shutdown_is_refused(scene: Scene) -> Outcome:
    pool = scene.pool()
    first = pool.submit(tasks.same, 7)
    pool.shutdown()
    pool.shutdown()
    return [told(first), raised(lambda: pool.submit(tasks.same, 7)), raised(lambda: pool.map(tasks.same, [1]))]


@fault()
def submit_at_the_interpreters_end_is_refused(scene: Scene) -> Outcome:
    pool = scene.pool()
    atexit.register(lambda: tasks.tell(scene.file("told"), raised(lambda: pool.submit(tasks.same, 7))))
    return ["left"]


TELLS_WHICH_END = Difference(
    "ours says that the interpreter has ended; the standard pool, once used, that somebody has shut it down",
    {"told": "RuntimeError: cannot schedule new futures after interpreter shutdown"},
)


@fault(meant={"threads": TELLS_WHICH_END, "interpreters": TELLS_WHICH_END})
def submit_at_the_interpreters_end_is_refused_by_a_used_pool(scene: Scene) -> Outcome:
    pool = scene.pool()
    assert pool.submit(tasks.same, 7).result(PATIENCE) == 7
    atexit.register(lambda: tasks.tell(scene.file("told"), raised(lambda: pool.submit(tasks.same, 7))))
    return ["left"]


@fault()
def shutdown_with_cancel_futures_cancels_what_waits(scene: Scene) -> Outcome:
    pool = scene.pool(1)
    running = pool.submit(tasks.tell_pid_and_wait, scene.file("pid"), scene.file("go"))
    waiting = [pool.submit(tasks.same, value) for value in range(50)]
    tasks.await_file(scene.file("pid"))
    pool.shutdown(wait=False, cancel_futures=True)
    assert eventually(waiting[-1].cancelled)
    scene.signal("go")
    pool.shutdown()
    # The standard library's manager closes its pipe when it ends, and the end of the interpreter writes there unlocked.
    assert eventually(lambda: threading.active_count() == 1), threading.enumerate()
    # How many a process pool has already handed on to its worker is its own affair.
    assert all(told(future) == f"returned {value}" for value, future in enumerate(waiting) if not future.cancelled())
    return [told(running), told(waiting[-1])]


@fault()
def a_size_of_zero_is_refused(scene: Scene) -> Outcome:
    return [raised(lambda: scene.pool(0)), raised(lambda: scene.pool(-1))]


@fault()
def an_initializer_that_is_not_callable_is_refused(scene: Scene) -> Outcome:
    return [raised(lambda: scene.pool(1, initializer=7))]


# ---- What callbacks and waiters do ----


@fault()
def a_callback_that_raises_is_told_and_the_others_run(scene: Scene) -> Outcome:
    def fail(_: Future[Any]) -> None:
        raise ValueError("not today")

    with scene.pool() as pool:
        future = pool.submit(tasks.tell_pid_and_wait, scene.file("pid"), scene.file("go"))
        future.add_done_callback(lambda _: scene.callbacks.append("before"))
        future.add_done_callback(fail)
        future.add_done_callback(lambda _: scene.callbacks.append("after"))
        scene.signal("go")
        first = told(future)
        assert pool.submit(tasks.same, 5).result(PATIENCE) == 5
    return [first, *scene.callbacks]


@fault()
def a_callback_may_submit(scene: Scene) -> Outcome:
    second: list[Future[Any]] = []
    submitted = threading.Event()
    with scene.pool() as pool:

        def go_on(first: Future[Any]) -> None:
            second.append(pool.submit(tasks.same, first.result() + 1))
            submitted.set()

        pool.submit(tasks.same, 7).add_done_callback(go_on)
        assert submitted.wait(PATIENCE)
        return [told(second[0])]


@fault()
def a_running_task_cannot_be_cancelled_and_a_waiting_one_can(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        running = pool.submit(tasks.tell_pid_and_wait, scene.file("pid"), scene.file("go"))
        waiting = [pool.submit(tasks.same, value) for value in range(10)]
        tasks.await_file(scene.file("pid"))
        ended = [str(running.cancel()), str(waiting[-1].cancel()), str(waiting[-1].cancel()), told(waiting[-1])]
        scene.signal("go")
        return [*ended, told(running), told(waiting[0])]


@fault()
def result_with_a_timeout_gives_up_and_can_be_asked_again(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        future = pool.submit(tasks.tell_pid_and_wait, scene.file("pid"), scene.file("go"))
        tasks.await_file(scene.file("pid"))
        given_up = [raised(lambda: future.result(0.01)), raised(lambda: future.exception(0))]
        scene.signal("go")
        return [*given_up, told(future)]


@fault()
def map_raises_where_the_task_failed_and_cancels_the_rest(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        names = ["ValueError", "SystemExit", "ValueError"]
        results = pool.map(tasks.raise_named, names, ["first", "second", "third"])
        return [raised(lambda: next(results)), raised(lambda: next(results))]


@fault()
def map_gives_up_in_time(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        results = pool.map(tasks.await_file, [scene.file("go")] * 3, timeout=0.05)
        given_up = raised(lambda: next(results))
        scene.signal("go")
        return [given_up]


@fault()
def an_interrupt_strikes_whoever_waits_for_a_result(scene: Scene) -> Outcome:
    with scene.pool(1) as pool:
        future = pool.submit(tasks.interrupt_after, os.getpid(), scene.file("go"), scene.file("done"))
        try:
            scene.signal("go")
            future.result(PATIENCE)
        except KeyboardInterrupt:
            struck = ["struck"]
        scene.signal("done")
        return [*struck, told(future)]
