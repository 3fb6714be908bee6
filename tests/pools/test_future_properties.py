"""Whatever is done to it, and in which order: a native future answers as a standard one does."""

from __future__ import annotations

import gc
import logging
import re
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION, as_completed, wait
from concurrent.futures import Future as StandardFuture
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from unirun.executors.futures import Future as NativeFuture

pytestmark = pytest.mark.native

PATIENCE = 30.0
ENGINES: dict[str, Callable[[], StandardFuture[Any]]] = {"standard": StandardFuture, "native": NativeFuture}
LOGGER = logging.getLogger("concurrent.futures")


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\b\d{9,}\b", "0x", text)


def outcome(act: Callable[[], object]) -> str:
    """What it gave back or raised, in words that two futures can share."""
    try:
        return f"returned {without_addresses(repr(act()))}"
    except BaseException as error:
        return f"{type(error).__name__}: {without_addresses(str(error))}"


class Side(logging.Handler):
    """The futures of one engine, and all that was heard from them, in order."""

    def __init__(self, make: Callable[[], StandardFuture[Any]]) -> None:
        super().__init__()
        self.make = make
        self.futures: list[StandardFuture[Any]] = []
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[1] if record.exc_info else None
        self.heard.append(without_addresses(f"{record.levelname} {record.getMessage()} {raised!r}"))

    def act(self, what: Callable[[Side], object]) -> str:
        LOGGER.addHandler(self)
        try:
            return outcome(lambda: what(self))
        finally:
            LOGGER.removeHandler(self)

    def callback(self, number: int, name: str) -> Callable[[StandardFuture[Any]], None]:
        def hear(future: StandardFuture[Any]) -> None:
            mine = future is self.futures[number]
            self.heard.append(f"{name} of {number}: {mine} {future.done()} {future.cancelled()}")
            if name.startswith("failing"):
                raise ValueError(name)
            if name.startswith("adding"):
                future.add_done_callback(self.callback(number, f"{name}'s own"[2:]))

        return hear

    def numbers(self, chosen: Any) -> list[int]:
        return sorted(self.futures.index(future) for future in chosen)


numbers = st.integers(0, 7)
errors = st.sampled_from([ValueError("no"), KeyboardInterrupt(), SystemExit(3), OSError(2, "gone"), StopIteration()])


class SideBySide(RuleBasedStateMachine):
    """Each step is taken on a standard future and on a native one; their answers are the same."""

    def __init__(self) -> None:
        super().__init__()
        self.sides = [Side(make) for make in ENGINES.values()]
        self.propagated, LOGGER.propagate = LOGGER.propagate, False

    def teardown(self) -> None:
        LOGGER.propagate = self.propagated

    def same(self, what: Callable[[Side], object]) -> None:
        standard, native = (side.act(what) for side in self.sides)
        assert native == standard
        assert self.sides[1].heard == self.sides[0].heard

    def on(self, number: int, what: Callable[[StandardFuture[Any]], object]) -> None:
        self.same(lambda side: what(side.futures[number % len(side.futures)]))

    @initialize()
    def begin(self) -> None:
        self.same(lambda side: side.futures.append(side.make()))

    @precondition(lambda self: len(self.sides[0].futures) < 6)
    @rule()
    def another(self) -> None:
        self.same(lambda side: side.futures.append(side.make()))

    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        self.on(number, lambda future: future.cancel())

    @rule(number=numbers)
    def run(self, number: int) -> None:
        self.on(number, lambda future: future.set_running_or_notify_cancel())

    @rule(number=numbers, result=st.one_of(st.none(), st.integers(), st.text(max_size=3)))
    def set_result(self, number: int, result: object) -> None:
        self.on(number, lambda future: future.set_result(result))

    @rule(number=numbers, error=errors)
    def set_exception(self, number: int, error: BaseException) -> None:
        self.on(number, lambda future: future.set_exception(error))

    @rule(number=numbers)
    def ask(self, number: int) -> None:
        self.on(number, lambda future: (future.cancelled(), future.running(), future.done(), repr(future)))

    @rule(number=numbers)
    def result(self, number: int) -> None:
        self.on(number, lambda future: future.result(timeout=0))

    @rule(number=numbers)
    def exception(self, number: int) -> None:
        self.on(number, lambda future: future.exception(0))

    @rule(number=numbers, name=st.sampled_from(["plain", "failing", "adding", "adding adding"]))
    def add_callback(self, number: int, name: str) -> None:
        def add(side: Side) -> None:
            chosen = number % len(side.futures)
            side.futures[chosen].add_done_callback(side.callback(chosen, name))

        self.same(add)

    @rule(number=numbers)
    def look_inside(self, number: int) -> None:
        """What the standard library's own functions read is made on demand, and changes nothing."""

        def look(future: Any) -> object:
            with future._condition:
                # What has been called is forgotten by ours, and kept by the standard one.
                callbacks = None if future.done() else len(future._done_callbacks)
                return future._state, future._result, future._exception, future._waiters, callbacks

        self.on(number, look)

    @rule(chosen=st.sets(numbers), when=st.sampled_from([ALL_COMPLETED, FIRST_COMPLETED, FIRST_EXCEPTION]))
    def wait_for(self, chosen: set[int], when: str) -> None:
        def ask(side: Side) -> object:
            futures = [side.futures[number % len(side.futures)] for number in chosen]
            done, pending = wait(futures, timeout=0, return_when=when)
            return side.numbers(done), side.numbers(pending)

        self.same(ask)

    @rule(chosen=st.sets(numbers))
    def take_as_completed(self, chosen: set[int]) -> None:
        def ask(side: Side) -> object:
            taken: list[StandardFuture[Any]] = []
            try:
                for future in as_completed([side.futures[number % len(side.futures)] for number in chosen], timeout=0):
                    taken.append(future)
            except TimeoutError as error:
                return side.numbers(taken), str(error)
            return side.numbers(taken)

        self.same(ask)

    @rule(number=numbers)
    def forget(self, number: int) -> None:
        """Nothing holds a future that its owner has let go; another takes its place."""

        def drop(side: Side) -> bool:
            chosen = number % len(side.futures)
            gone = weakref.ref(side.futures[chosen])
            side.futures[chosen] = side.make()
            if gone() is not None:
                gc.collect()
            return gone() is None

        self.same(drop)


def test_a_native_future_answers_as_a_standard_one() -> None:
    steps = settings(max_examples=100, stateful_step_count=40, deadline=None, derandomize=True)
    run_state_machine_as_test(SideBySide, settings=steps)


ACTS: dict[str, Callable[[StandardFuture[Any]], object]] = {
    "cancel": lambda future: future.cancel(),
    "run": lambda future: future.set_running_or_notify_cancel(),
    "result": lambda future: future.set_result("result"),
    "exception": lambda future: future.set_exception(ValueError("no")),
    "touch": lambda future: future._condition,
}


def race(acts: list[Callable[[], object]]) -> list[str]:
    """All at once, each in a thread of its own; how each of them ended."""
    ended = [""] * len(acts)
    start = threading.Barrier(len(acts))

    def run(number: int, act: Callable[[], object]) -> None:
        start.wait(PATIENCE)
        ended[number] = outcome(act)

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(acts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    return ended


@pytest.mark.parametrize("engine", ENGINES)
@settings(max_examples=100, deadline=None, derandomize=True)
@given(names=st.lists(st.sampled_from(sorted(ACTS)), min_size=2, max_size=5), waiters=st.integers(0, 3))
def test_however_threads_race_a_future_ends_once(engine: str, names: list[str], waiters: int) -> None:
    future = ENGINES[engine]()
    called: list[str] = []
    future.add_done_callback(lambda _: called.append("early 1"))
    future.add_done_callback(lambda _: called.append("early 2"))
    acts: list[Callable[[], object]] = [lambda name=name: ACTS[name](future) for name in names]  # type: ignore[misc]
    late: Callable[[], object] = lambda: future.add_done_callback(lambda _: called.append("late"))  # noqa: E731
    waiting: list[Callable[[], object]] = [lambda: future.result(PATIENCE)] * waiters

    def close() -> None:
        """After a race that ended nothing, so that whoever waits goes home."""
        while not future.done():
            if not future.cancel():
                try:
                    future.set_result("result")
                except Exception:
                    pass

    ended = race([*acts, late, close, *waiting])
    close()
    assert sorted(called) == ["early 1", "early 2", "late"]
    assert [name for name in called if name != "late"] == ["early 1", "early 2"]
    completed = [
        name for name, end in zip(names, ended, strict=False) if name in ("result", "exception") and "None" in end
    ]
    assert len(completed) <= 1
    cancels = [end for name, end in zip(names, ended, strict=False) if name == "cancel"]
    if future.cancelled():
        assert not completed
        expected = "CancelledError: "
    else:
        assert "returned True" not in cancels
        expected = outcome(future.result)
        if completed:
            assert expected == {"result": "returned 'result'", "exception": "ValueError: no"}[completed[0]]
    assert set(ended[len(ended) - waiters :]) <= {expected}
