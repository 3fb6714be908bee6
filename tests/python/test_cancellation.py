from __future__ import annotations

import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import pytest

from unirun import CancellationToken, Cancelled


def test_a_fresh_token_asks_for_nothing() -> None:
    token = CancellationToken()
    assert not token.is_cancellation_requested
    assert not token.wait(0)
    assert not token.wait(-1)
    token.raise_if_cancelled()


def test_a_request_stays() -> None:
    token = CancellationToken()
    assert token.cancel()
    assert not token.cancel()
    assert token.is_cancellation_requested
    assert token.wait()
    assert token.wait(0)
    with pytest.raises(Cancelled):
        token.raise_if_cancelled()


def test_cancelled_passes_except_exception() -> None:
    assert not issubclass(Cancelled, Exception)


def test_every_waiter_wakes() -> None:
    token = CancellationToken()
    waiting = threading.Barrier(9)

    def wait() -> bool:
        waiting.wait()
        return token.wait()

    with ThreadPoolExecutor(8) as pool:
        woken = [pool.submit(wait) for _ in range(8)]
        waiting.wait()
        token.cancel()
        assert all(future.result() for future in woken)


def test_only_one_of_many_requests_is_the_first() -> None:
    token = CancellationToken()
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: token.cancel(), range(100))) == 1


def test_callbacks_run_once_and_can_be_taken_off() -> None:
    token = CancellationToken()
    called: list[str] = []
    token.add_callback(lambda: called.append("kept"))
    remove = token.add_callback(lambda: called.append("removed"))
    remove()
    remove()
    token.cancel()
    token.cancel()
    assert called == ["kept"]
    token.add_callback(lambda: called.append("late"))
    assert called == ["kept", "late"]


def test_a_callback_that_raises_harms_nobody(capsys: pytest.CaptureFixture[str]) -> None:
    token = CancellationToken()
    called: list[str] = []

    def fails() -> None:
        raise ValueError("my fault")

    token.add_callback(fails)
    token.add_callback(lambda: called.append("after"))
    token.cancel()
    assert called == ["after"]
    assert "ValueError: my fault" in capsys.readouterr().err


def test_a_callback_is_called_exactly_once_however_the_race_ends() -> None:
    for _ in range(300):
        token = CancellationToken()
        called: list[None] = []
        start = threading.Barrier(2)

        def cancel(token: CancellationToken = token, start: threading.Barrier = start) -> None:
            start.wait()
            token.cancel()

        thread = threading.Thread(target=cancel)
        thread.start()
        start.wait()
        token.add_callback(lambda called=called: called.append(None))  # type: ignore[misc]
        thread.join()
        assert len(called) == 1


def test_a_signal_handler_wakes_the_thread_that_it_interrupted() -> None:
    token = CancellationToken()
    before = signal.signal(signal.SIGUSR1, lambda *_: token.cancel())
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.0, signal.pthread_kill, (main, signal.SIGUSR1)).start()
    try:
        assert token.wait(20)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_request_on_top_of_another_is_seen_and_complete_when_it_returns() -> None:
    """As a signal handler's is, which may run between any two instructions of the first."""
    firsts: list[bool] = []

    def request_again(frame: FrameType, _event: str, _argument: object) -> Any:
        if frame.f_code is CancellationToken.cancel.__code__:
            firsts.append(token.cancel())
            assert token.is_cancellation_requested
            assert token.wait(0)
            assert called == ["once"]
        return request_again

    token = CancellationToken()
    called: list[str] = []
    token.add_callback(lambda: called.append("once"))
    before = sys.gettrace()
    sys.settrace(request_again)
    try:
        firsts.append(token.cancel())
    finally:
        sys.settrace(before)
    assert len(firsts) > 2
    assert sum(firsts) == 1


def test_a_waiter_whom_a_signal_strikes_leaves_the_way_open_for_the_others() -> None:
    token = CancellationToken()
    latch = token._latch

    class Struck:
        """A latch whose taker is struck by a handler that raises, as soon as it has it."""

        release = latch.release

        def acquire(self, timeout: float) -> None:
            token.cancel()
            latch.acquire(timeout=timeout)
            raise Cancelled("by a signal")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(token.wait)
        token._latch = Struck()  # type: ignore[assignment]
        with pytest.raises(Cancelled):
            token.wait()
        assert waiting.result()
    assert not latch.locked()
