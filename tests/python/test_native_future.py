"""The native Future beside the standard library: who waits for it, and by which means."""

from __future__ import annotations

import asyncio
import pickle
import threading
import weakref
from concurrent import futures

import pytest

from unirun.executors.futures import Future

PATIENCE = 30.0


def test_wait_and_as_completed_take_native_and_standard_futures_together() -> None:
    native: Future[int] = Future()
    standard: futures.Future[int] = futures.Future()

    def complete() -> None:
        standard.set_result(1)
        native.set_result(2)

    completer = threading.Thread(target=complete)
    completer.start()
    assert {each.result() for each in futures.as_completed([native, standard], PATIENCE)} == {1, 2}
    completer.join()
    assert futures.wait([native, standard], PATIENCE).not_done == set()


def test_wait_returns_at_the_first_exception() -> None:
    failing: Future[int] = Future()
    pending: Future[int] = Future()
    completer = threading.Thread(target=failing.set_exception, args=(ValueError("no"),))
    completer.start()
    done, not_done = futures.wait([failing, pending], PATIENCE, futures.FIRST_EXCEPTION)
    completer.join()
    assert (done, not_done) == ({failing}, {pending})


def test_asyncio_waits_for_it() -> None:
    async def main() -> int:
        future: Future[int] = Future()
        completer = threading.Thread(target=future.set_result, args=(5,))
        completer.start()
        result = await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE)
        completer.join()
        return result

    assert asyncio.run(main()) == 5


def test_who_sets_the_state_by_hand_wakes_who_waits_natively() -> None:
    future: Future[int] = Future()

    def by_hand() -> None:
        with future._condition:
            future._state = "FINISHED"
            future._result = 7
            future._condition.notify_all()

    completer = threading.Thread(target=by_hand)
    completer.start()
    assert future.result(PATIENCE) == 7
    completer.join()


def test_a_wrong_state_names_the_five() -> None:
    with pytest.raises(ValueError, match="PENDING, RUNNING, CANCELLED, CANCELLED_AND_NOTIFIED, FINISHED"):
        Future()._state = "DONE"


def test_every_thread_that_waits_is_woken() -> None:
    future: Future[str] = Future()
    seen: list[str] = []
    waiting = [threading.Thread(target=lambda: seen.append(future.result(PATIENCE))) for _ in range(20)]
    for thread in waiting:
        thread.start()
    future.set_result("x")
    for thread in waiting:
        thread.join(PATIENCE)
    assert seen == ["x"] * 20


def test_a_callback_that_raises_is_logged_and_the_next_is_called(caplog: pytest.LogCaptureFixture) -> None:
    future: Future[int] = Future()
    called: list[Future[int]] = []
    future.add_done_callback(lambda _future: 1 // 0)
    future.add_done_callback(called.append)  # type: ignore[arg-type]
    future.set_result(1)
    assert called == [future]
    assert "exception calling callback for <Future at" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_callback_keeps_nothing_alive_once_it_was_called() -> None:
    class Callback:
        def __call__(self, future: futures.Future[int]) -> None: ...

    future: Future[int] = Future()
    callback = Callback()
    gone = weakref.ref(callback)
    future.add_done_callback(callback)
    future.set_result(1)
    del callback
    assert gone() is None


def test_an_exception_that_is_false_is_raised() -> None:
    class Nothing(Exception):
        def __bool__(self) -> bool:
            return False

    future: Future[int] = Future()
    future.set_exception(Nothing())
    with pytest.raises(Nothing):
        future.result()


def test_a_timeout_that_cannot_be_is_refused() -> None:
    with pytest.raises(OverflowError):
        Future().result(1e300)
    with pytest.raises(ValueError, match="NaN"):
        Future().result(float("nan"))
    with pytest.raises(TypeError):
        Future().result("soon")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="result"):
        Future().result(patience=1)  # type: ignore[call-arg]


def test_it_can_be_neither_pickled_nor_completed_twice() -> None:
    future: Future[int] = Future()
    future.set_result(1)
    with pytest.raises(
        futures.InvalidStateError, match=r"FINISHED: <Future at 0x[0-9a-f]+ state=finished returned int>"
    ):
        future.set_exception(ValueError())
    with pytest.raises(TypeError, match="cannot pickle 'Future' object"):
        pickle.dumps(future)
