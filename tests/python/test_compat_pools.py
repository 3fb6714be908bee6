"""The managed pools: the standard classes to whoever looks, native engines beneath, and no silent step back."""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import concurrent.futures.thread
import inspect
import multiprocessing
import os
import pickle
import queue
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest

import unirun
from compat_programs import ran, said
from unirun import DecisionTrace, RuntimeConfig
from unirun.compat import ProcessPoolExecutor, ThreadPoolExecutor
from unirun.executors import processes, threads
from unirun.executors.futures import Future

PATIENCE = 60.0
STANDARD: dict[Any, Any] = {
    ThreadPoolExecutor: concurrent.futures.ThreadPoolExecutor,
    ProcessPoolExecutor: concurrent.futures.ProcessPoolExecutor,
}
NATIVE: dict[Any, Any] = {
    ThreadPoolExecutor: threads.ThreadPoolExecutor,
    ProcessPoolExecutor: processes.ProcessPoolExecutor,
}
BOTH = pytest.mark.parametrize("kind", list(STANDARD), ids=lambda kind: kind.__name__)


@pytest.fixture
def decisions() -> Iterator[list[DecisionTrace]]:
    found: list[DecisionTrace] = []
    unirun.add_decision_listener(found.append)
    yield found
    unirun.remove_decision_listener(found.append)


@pytest.fixture
def configured() -> Iterator[Callable[[RuntimeConfig], None]]:
    yield unirun.configure
    unirun.configure(RuntimeConfig())
    unirun.reset()


def double(number: int) -> int:
    return 2 * number


def nothing(*_: object) -> None: ...


def eventually(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class ForeignContext:
    """Looks like a context of multiprocessing, and is none."""

    def __init__(self) -> None:
        self._own = multiprocessing.get_context("fork")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


# ---- What they are ----


@BOTH
def test_a_managed_pool_is_an_instance_of_the_standard_class_on_the_native_engine(kind: type[Any]) -> None:
    with kind(2) as pool:
        assert isinstance(pool, STANDARD[kind]) and isinstance(pool, NATIVE[kind])
        future = pool.submit(double, 4)
        assert isinstance(future, Future) and isinstance(future, concurrent.futures.Future)
        assert future.result(PATIENCE) == 8
        assert list(pool.map(double, range(5), timeout=PATIENCE)) == [0, 2, 4, 6, 8]


@BOTH
def test_a_standard_pool_is_an_instance_of_the_managed_class(kind: type[Any]) -> None:
    standard = STANDARD[kind]
    with standard(1) as pool:
        assert isinstance(pool, kind)
    assert issubclass(standard, kind) and issubclass(kind, standard) and issubclass(kind, Executor)
    assert not issubclass(Executor, kind) and not isinstance(object(), kind)

    class Own(kind):  # type: ignore[misc]
        pass

    assert issubclass(Own, kind) and issubclass(Own, standard)
    assert not issubclass(standard, Own) and not issubclass(kind, Own)


@BOTH
def test_it_has_the_name_the_module_and_the_signatures_of_the_standard_class(kind: type[Any]) -> None:
    standard = STANDARD[kind]
    assert (kind.__name__, kind.__qualname__, kind.__module__) == (
        standard.__name__, standard.__qualname__, standard.__module__,
    )  # fmt: skip
    assert repr(kind) == repr(standard)
    assert inspect.signature(kind) == inspect.signature(standard)
    for name in ("submit", "map", "shutdown"):
        assert (
            list(inspect.signature(getattr(kind, name)).parameters)[:2]
            == list(inspect.signature(getattr(standard, name)).parameters)[:2]
        )
    with kind(1) as ours, standard(1) as theirs:
        assert repr(ours).partition(" at ")[0] == repr(theirs).partition(" at ")[0]


@BOTH
def test_the_class_is_pickled_by_its_name_and_a_subclass_by_its_own(kind: type[Any]) -> None:
    assert pickle.loads(pickle.dumps(kind)) is kind
    assert pickle.loads(pickle.dumps(Numbered)) is Numbered


@BOTH
@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
def test_a_pool_is_refused_by_pickle_as_ever(kind: type[Any], used: bool) -> None:
    def told(made: type[Any]) -> tuple[type[BaseException], str]:
        with made(1) as pool:
            if used:
                pool.submit(nothing).result(PATIENCE)
            with pytest.raises((TypeError, AttributeError, pickle.PicklingError)) as refused:
                pickle.dumps(pool)
        return type(refused.value), str(refused.value).partition(" at 0x")[0]

    assert told(kind) == told(STANDARD[kind])


def test_threads_have_the_standard_sizes_and_names() -> None:
    def name() -> str:
        return threading.current_thread().name

    with ThreadPoolExecutor() as ours, concurrent.futures.ThreadPoolExecutor() as theirs:
        assert ours._max_workers == theirs._max_workers
        prefix, _, number = ours.submit(name).result(PATIENCE).rpartition("_")
        assert prefix.startswith("ThreadPoolExecutor-") and number == "0"
    with ThreadPoolExecutor(1, "mine") as pool:
        assert pool.submit(name).result(PATIENCE) == "mine_0"
    with ProcessPoolExecutor() as own, concurrent.futures.ProcessPoolExecutor() as standard:
        assert vars(own)["_max_workers"] == vars(standard)["_max_workers"]


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_contexts_of_multiprocessing_are_served_natively_and_nothing_is_said(method: Any) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        assert isinstance(pool, processes.ProcessPoolExecutor) and pool._engine is not None
        assert pool._mp_context.get_start_method() == method
        assert pool.submit(double, 3).result(PATIENCE) == 6


def test_without_a_context_processes_start_as_the_standard_ones_do() -> None:
    with ThreadPoolExecutor(1) as beside:
        beside.submit(nothing).result(PATIENCE)  # Here a native pool of its own would not fork.
        with ProcessPoolExecutor(1) as ours, concurrent.futures.ProcessPoolExecutor(1) as theirs:
            assert ours._mp_context is theirs._mp_context


# ---- Subclasses ----


class Numbered(ThreadPoolExecutor):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.submitted = 0
        self.down = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        self.submitted += 1
        return super().submit(fn, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.down += 1
        super().shutdown(wait, cancel_futures=cancel_futures)


@pytest.mark.parametrize("more", [{}, {"initializer": nothing}], ids=["ours", "downgraded"])
@pytest.mark.filterwarnings("ignore:.*downgraded to stdlib behaviour")
def test_an_overridden_submit_serves_map_and_an_overridden_shutdown_the_block(more: dict[str, Any]) -> None:
    with Numbered(2, **more) as pool:
        assert list(pool.map(double, range(3), timeout=PATIENCE)) == [0, 2, 4]
        assert pool.submitted == 3
    assert pool.down == 1


# ---- Downgrades ----


def remember(seen: list[int]) -> None:
    seen.append(threading.get_ident())


def test_an_initializer_is_run_by_the_standard_machinery_with_one_warning_at_the_caller(
    decisions: list[DecisionTrace],
) -> None:
    seen: list[int] = []
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        line = inspect.currentframe().f_lineno + 1  # type: ignore[union-attr]
        with ThreadPoolExecutor(1, initializer=remember, initargs=(seen,)) as pool:
            future = pool.submit(double, 2)
            assert future.result(PATIENCE) == 4
            assert list(pool.map(double, range(3))) == [0, 2, 4]
            assert type(future) is concurrent.futures.Future
            assert len(seen) == 1
    (warning,) = told
    assert (
        str(warning.message)
        == "ThreadPoolExecutor downgraded to stdlib behaviour: initializer requires stdlib executor"
    )
    assert (warning.category, warning.filename, warning.lineno) == (RuntimeWarning, __file__, line)
    (trace,) = decisions
    assert trace.codes == ("requested", "downgrade") and trace.resolved_mode == "thread"
    assert trace.reason.endswith("downgraded to stdlib behaviour: initializer requires stdlib executor")


class Prepared(ThreadPoolExecutor):
    def __init__(self) -> None:
        super().__init__(1, initializer=nothing)


class PreparedFurther(Prepared):
    def __init__(self) -> None:
        super().__init__()


def test_the_warning_points_at_who_makes_a_subclass() -> None:
    with pytest.warns(RuntimeWarning, match="^ThreadPoolExecutor downgraded") as told:
        PreparedFurther()
    line = inspect.getsourcelines(test_the_warning_points_at_who_makes_a_subclass)[1] + 2
    assert [(each.filename, each.lineno) for each in told] == [(__file__, line)]


def test_each_construction_warns_once() -> None:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            with ThreadPoolExecutor(1, initializer=nothing) as pool:
                pool.submit(nothing).result(PATIENCE)
    assert len(told) == 3


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"initializer": nothing}, "initializer requires stdlib executor"),
        ({"mp_context": ForeignContext()}, "mp_context is not one of multiprocessing's"),
        ({"mp_context": ForeignContext(), "initializer": nothing}, "initializer requires stdlib executor"),
    ],
)
def test_a_process_pool_steps_back_with_one_warning(
    how: dict[str, Any], why: str, decisions: list[DecisionTrace]
) -> None:
    with pytest.warns(RuntimeWarning) as told, ProcessPoolExecutor(1, **how) as pool:
        assert pool.submit(double, 2).result(PATIENCE) == 4
    assert [str(each.message) for each in told] == [f"ProcessPoolExecutor downgraded to stdlib behaviour: {why}"]
    assert told[0].filename == __file__
    assert decisions[0].codes == ("requested", "downgrade") and decisions[0].reason.endswith(why)


def test_max_tasks_per_child_is_the_standard_machinery_and_nothing_is_said(decisions: list[DecisionTrace]) -> None:
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as pool:
        assert pool.submit(os.getpid).result(PATIENCE) != pool.submit(os.getpid).result(PATIENCE)
    assert decisions[0].reason.endswith("max_tasks_per_child")


def test_an_engine_that_cannot_start_is_a_downgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(threads.ThreadPoolExecutor, "__init__", fail)
    with (
        pytest.warns(RuntimeWarning, match="ThreadPoolExecutor downgraded .*the native thread engine cannot start"),
        ThreadPoolExecutor(1) as pool,
    ):
        assert pool.submit(double, 2).result(PATIENCE) == 4


@BOTH
def test_the_standard_engines_may_be_configured_and_nothing_is_said(
    kind: type[Any], configured: Callable[[RuntimeConfig], None], decisions: list[DecisionTrace]
) -> None:
    configured(RuntimeConfig(engine="stdlib"))
    with kind(1) as pool:
        assert pool._engine is None
        assert pool.submit(double, 2).result(PATIENCE) == 4
    assert decisions[0].reason.endswith("as configured")


# ---- Decisions ----


@BOTH
def test_every_construction_is_a_decision(kind: type[Any], decisions: list[DecisionTrace]) -> None:
    with kind(3):
        pass
    (trace,) = decisions
    mode = "thread" if kind is ThreadPoolExecutor else "process"
    assert (trace.mode, trace.resolved_mode, trace.max_workers, trace.hints) == (mode, mode, 3, {"max_workers": 3})
    assert trace.codes == ("requested",)
    assert unirun.last_decision() is trace


@pytest.mark.parametrize("word", ["gil", "nogil", "auto"])
def test_the_thread_mode_stands_in_the_decision(word: str) -> None:
    source = """
        import unirun, sys
        from unirun.compat import ThreadPoolExecutor
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(int, "7").result() == 7
        trace = unirun.last_decision()
        print(trace.thread_mode, "thread_mode" in trace.reason)
    """
    assert said(source, UNIRUN_THREAD_MODE=word) == [f"{word} {word != 'auto'}"]


# ---- Bad input gets what the standard library gives ----


def refusal(make: Callable[[], Any]) -> tuple[type[BaseException], str]:
    with pytest.raises((TypeError, ValueError, RuntimeError)) as refused:
        make()
    return type(refused.value), str(refused.value)


@BOTH
@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ((0,), {}), ((-1,), {}), (("two",), {}), ((1,), {"initializer": 7}), ((), {"nothing": 1}),
        ((1, None, None, (), 5), {}),
    ],
)  # fmt: skip
def test_a_wrong_constructor_call_is_refused_as_ever(
    kind: type[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert refusal(lambda: kind(*args, **kwargs)) == refusal(lambda: STANDARD[kind](*args, **kwargs))


@pytest.mark.parametrize("how", [
    {"max_tasks_per_child": 0}, {"max_tasks_per_child": "one"},
    {"max_tasks_per_child": 1, "mp_context": multiprocessing.get_context("fork")},
])  # fmt: skip
def test_a_wrong_max_tasks_per_child_is_refused_as_ever(how: dict[str, Any]) -> None:
    assert refusal(lambda: ProcessPoolExecutor(1, **how)) == refusal(
        lambda: concurrent.futures.ProcessPoolExecutor(1, **how)
    )


@BOTH
@pytest.mark.filterwarnings("ignore:.*downgraded to stdlib behaviour")
@pytest.mark.parametrize("more", [{}, {"initializer": nothing}], ids=["ours", "downgraded"])
def test_a_call_after_shutdown_is_refused_as_ever(kind: type[Any], more: dict[str, Any]) -> None:
    ours, theirs = kind(1, **more), STANDARD[kind](1)
    ours.shutdown()
    theirs.shutdown()
    assert refusal(lambda: ours.submit(nothing)) == refusal(lambda: theirs.submit(nothing))


# ---- Programs that reach inside ----


def test_a_pool_grows_by_its_max_workers() -> None:
    together = threading.Barrier(4)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(nothing).result(PATIENCE)
        pool._max_workers = 4
        assert pool._max_workers == 4
        calls = [pool.submit(together.wait, PATIENCE) for _ in range(4)]
        assert sorted(call.result(PATIENCE) for call in calls) == [0, 1, 2, 3]
        assert len(pool._threads) == 4


class Backwards(queue.LifoQueue[Any]):
    """The last task first; None, by which threads are told to end, when nothing else is left."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        item = super().get(block, timeout)
        if item is None and not self.empty():
            item, _ = super().get(), self.put(None)  # type: ignore[func-returns-value]
        return item


def test_a_replaced_queue_is_used_by_the_standard_machinery_with_a_warning() -> None:
    done: list[int] = []
    started, released = threading.Event(), threading.Event()

    def first() -> None:
        started.set()
        released.wait(PATIENCE)

    with ThreadPoolExecutor(1) as pool:
        with pytest.warns(RuntimeWarning) as told:
            pool._work_queue = Backwards()  # type: ignore[assignment]
        pool.submit(first)
        assert started.wait(PATIENCE)
        calls = [pool.submit(done.append, number) for number in range(3)]
        released.set()
        for call in calls:
            call.result(PATIENCE)
    assert done == [2, 1, 0]
    assert [(str(each.message), each.filename) for each in told] == [
        ("ThreadPoolExecutor downgraded to stdlib behaviour: _work_queue was replaced", __file__)
    ]


def test_replaced_threads_are_served_by_the_standard_machinery_with_a_warning() -> None:
    with ThreadPoolExecutor(1) as pool:
        before = pool.submit(threading.current_thread).result(PATIENCE)
        former = pool._threads
        with pytest.warns(RuntimeWarning, match="_threads was replaced"):
            pool._threads = set()
        assert pool.submit(threading.current_thread).result(PATIENCE) is not before
        assert former == {before} and len(pool._threads) == 1
    before.join(PATIENCE)
    assert not before.is_alive()


def test_the_queue_can_be_counted() -> None:
    released = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(released.wait, PATIENCE)
        eventually(running.running)
        pool.submit(nothing)
        pool.submit(nothing)
        assert pool._work_queue.qsize() == 2
        released.set()


def test_idle_threads_can_be_counted_and_a_pool_that_steps_back_counts_them_itself() -> None:
    together = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        assert pool._idle_semaphore._value == 0
        for call in [pool.submit(together.wait, PATIENCE) for _ in range(3)]:
            call.result(PATIENCE)
        eventually(lambda: pool._idle_semaphore._value == 3)
        released = threading.Event()
        running = pool.submit(released.wait, PATIENCE)
        eventually(running.running)
        assert pool._idle_semaphore._value == 2
        released.set()
        with pytest.warns(RuntimeWarning, match="_threads was replaced"):
            pool._threads = set()
        assert type(pool._idle_semaphore) is threading.Semaphore
        pool.submit(nothing).result(PATIENCE)
        eventually(lambda: pool._idle_semaphore._value == 1)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """Whoever reads it waits for `release`."""
    made = tmp_path / "gate"
    os.mkfifo(made)
    return made


def release(gate: Path, calls: list[Any]) -> None:
    def opened() -> bool:
        os.close(os.open(gate, os.O_RDWR))
        return all(call.done() for call in calls)

    eventually(opened)


def test_the_calls_that_have_no_result_yet_can_be_counted_and_listed(gate: Path) -> None:
    with ProcessPoolExecutor(1) as pool:
        assert len(pool._pending_work_items) == 0 and not pool._pending_work_items
        first = pool.submit(gate.read_bytes)
        calls: list[Any] = [first, *(pool.submit(double, number) for number in range(3)), pool.submit(int, "7", base=8)]
        assert len(pool._pending_work_items) == 5
        items = pool._pending_work_items.items()
        assert sorted(number for number, _ in items) == [number for number, _ in items]
        assert [item.future for _, item in items] == calls
        item = list(pool._pending_work_items.values())[-1]
        assert (item.fn, item.args, item.kwargs) == (int, ("7",), {"base": 8})
        assert pool._pending_work_items[next(iter(pool._pending_work_items))].future is first
        release(gate, calls)
        assert calls[-1].result() == 7
        assert len(pool._pending_work_items) == 0
    assert len(pool._pending_work_items) == 0


def test_the_calls_of_a_pool_that_stepped_back_are_listed_by_the_standard_machinery() -> None:
    with ProcessPoolExecutor(1, max_tasks_per_child=1) as pool:
        assert pool._pending_work_items == {}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_pool_that_can_grow_grows_by_its_max_workers(method: Any, gate: Path) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as pool:
        pool.submit(nothing).result(PATIENCE)
        pool._max_workers = 2  # type: ignore[attr-defined]
        calls = [pool.submit(gate.read_bytes) for _ in range(3)]
        assert len(pool._processes) == 2
        release(gate, calls)


class Own:
    run: Any

    def __init__(self, *given: Any) -> None:
        self.given = given


def own(*_: object) -> None: ...


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (ThreadPoolExecutor, "_WorkItem", Own), (ThreadPoolExecutor, "_WorkItem.run", own),
        (ThreadPoolExecutor, "_worker", own), (ProcessPoolExecutor, "_WorkItem", Own),
        (ProcessPoolExecutor, "_process_worker", own),
    ],
)  # fmt: skip
def test_a_part_of_the_standard_machinery_that_was_replaced_is_used(
    kind: type[Any], name: str, value: Any, monkeypatch: pytest.MonkeyPatch, decisions: list[DecisionTrace]
) -> None:
    module = f"concurrent.futures.{'thread' if kind is ThreadPoolExecutor else 'process'}"
    monkeypatch.setattr(f"{module}.{name}", value)
    with pytest.warns(RuntimeWarning) as told, kind(1) as pool:
        assert pool._engine is None
    assert [(str(each.message), each.filename) for each in told] == [
        (f"{kind.__name__} downgraded to stdlib behaviour: {module}.{name} was replaced", __file__)
    ]
    assert decisions[0].codes == ("requested", "downgrade")
    monkeypatch.undo()
    with kind(1) as pool:
        assert pool._engine is not None


def test_a_process_engine_that_cannot_start_at_the_first_call_is_a_downgrade_and_a_decision(
    monkeypatch: pytest.MonkeyPatch, decisions: list[DecisionTrace]
) -> None:
    def fail(*_: object) -> None:
        raise processes._EngineCannotStart(OSError(24, "Too many open files"))

    with ProcessPoolExecutor(1) as pool:
        monkeypatch.setattr(processes._Crew, "start_worker", fail)
        with pytest.warns(RuntimeWarning) as told:
            call = pool.submit(double, 2)
        assert call.result(PATIENCE) == 4
    why = "the native process engine cannot start: OSError(24, 'Too many open files')"
    assert [(str(each.message), each.filename) for each in told] == [
        (f"ProcessPoolExecutor downgraded to stdlib behaviour: {why}", __file__)
    ]
    assert [trace.codes for trace in decisions] == [("requested",), ("requested", "downgrade")]
    assert decisions[-1].reason.endswith(why)


def test_a_program_may_exit_with_work_pending_and_forget_its_threads() -> None:
    pending = """
        import time
        from unirun.compat.concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        for number in range(3):
            pool.submit(lambda number=number: (time.sleep(0.05), print(number)))
        pool.shutdown(wait=False)
    """
    assert said(pending) == ["0", "1", "2"]
    refused = """
        import atexit, threading
        from unirun.compat.concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(1)
        def late():
            try: pool.submit(int)
            except RuntimeError as error: print(error)
        atexit.register(late)
    """
    assert said(refused) == ["cannot schedule new futures after interpreter shutdown"]
    forgotten = """
        import os, threading
        from unirun.compat.concurrent import futures
        pool = futures.ThreadPoolExecutor(1)
        started = threading.Event()
        pool.submit(lambda: (started.set(), threading.Event().wait()))
        started.wait()
        futures.thread._threads_queues.clear()
        pool._threads.clear()
        print("leaving", flush=True)
        os._exit(0)
    """
    assert said(forgotten) == ["leaving"]


def test_a_program_may_fork() -> None:
    source = """
        import os
        from unirun.compat.concurrent.futures import ThreadPoolExecutor
        pool = ThreadPoolExecutor(2)
        assert pool.submit(int, "1").result() == 1
        child = os.fork()
        if child == 0:
            with ThreadPoolExecutor(1) as own:
                code = own.submit(int, "7").result()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
        pool.shutdown()
    """
    done = ran(source, "-W", "ignore::DeprecationWarning")
    assert done.stdout.split() == ["7"], done.stderr


def test_a_local_function_is_refused_by_processes_as_ever() -> None:
    def told(kind: type[Any]) -> tuple[type, str]:
        with kind(1) as pool:
            error = pool.submit(lambda: None).exception(PATIENCE)
            return type(error), str(error).partition(" at 0x")[0]

    assert told(ProcessPoolExecutor) == told(concurrent.futures.ProcessPoolExecutor)
