"""Who reaches into a thread pool, or subclasses it, comes to the same with the managed class as with the standard."""

from __future__ import annotations

import threading
import warnings
import weakref
from concurrent import futures
from queue import Empty
from typing import Any

import pytest

from unirun import compat

PATIENCE = 60.0
CLASSES = {"standard": futures.ThreadPoolExecutor, "managed": compat.ThreadPoolExecutor}


@pytest.fixture(params=CLASSES)
def pool_class(request: pytest.FixtureRequest) -> Any:
    return CLASSES[request.param]


def busy(pool: Any) -> threading.Event:
    """Have a thread of the pool wait for what is returned."""
    began, released = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        released.wait(PATIENCE)

    pool.submit(work)
    assert began.wait(PATIENCE)
    return released


def test_the_queue_is_emptied_by_hand(pool_class: Any) -> None:
    """As programs cancelled what was queued before `shutdown` could."""
    ran: list[int] = []
    with pool_class(1) as pool:
        released = busy(pool)
        calls = [pool.submit(ran.append, number) for number in range(3)]
        assert pool._work_queue.qsize() == 3
        assert not pool._work_queue.empty()
        while True:
            try:
                item = pool._work_queue.get_nowait()
            except Empty:
                break
            assert item.future.cancel()
        released.set()
        last = pool.submit(ran.append, 3)
        last.result(PATIENCE)
    assert all(call.cancelled() for call in calls)
    assert ran == [3]


@pytest.mark.parametrize("keywords", [{}, {"base": 16}])
def test_a_queued_call_is_run_by_who_takes_it(pool_class: Any, keywords: dict[str, Any]) -> None:
    with pool_class(1) as pool:
        released = busy(pool)
        good = pool.submit(int, "10", **keywords)
        bad = pool.submit(int, "ten", **keywords)
        cancelled = pool.submit(int)
        assert cancelled.cancel()
        for _ in range(3):
            pool._work_queue.get(block=False).run()
        with pytest.raises(Empty):
            pool._work_queue.get(block=False)
        released.set()
    assert good.result(0) == (16 if keywords else 10)
    assert isinstance(bad.exception(0), ValueError)
    assert cancelled.cancelled()


def test_an_item_that_is_put_is_run(pool_class: Any) -> None:
    ran = threading.Event()

    class Item:
        def run(self) -> None:
            ran.set()

        def cancel(self) -> None:
            raise AssertionError

    with pool_class(1) as pool:
        pool.submit(int).result(PATIENCE)
        pool._work_queue.put(Item())
        assert ran.wait(PATIENCE)


def test_the_queue_stays_the_same_object_and_is_not_replaced_by_itself(pool_class: Any) -> None:
    with pool_class(1) as pool:
        queue = pool._work_queue
        pool._work_queue = queue
        assert pool._work_queue is queue
        assert pool.submit(int, "7").result(PATIENCE) == 7


def test_a_pool_is_gone_when_nobody_has_it_whoever_has_its_queue(pool_class: Any) -> None:
    pool = pool_class(1)
    queue, gone = pool._work_queue, weakref.ref(pool)
    pool.submit(int).result(PATIENCE)
    workers = list(pool._threads)
    del pool
    for worker in workers:
        worker.join(PATIENCE)
        assert not worker.is_alive()
    assert gone() is None
    del queue


def test_who_waits_at_the_queue_gets_what_is_submitted_next() -> None:
    with compat.ThreadPoolExecutor(1) as pool:
        queue: Any = pool._work_queue
        with pytest.warns(RuntimeWarning, match="the program waits at its _work_queue"), pytest.raises(Empty):
            queue.get(timeout=0.01)
        assert pool.submit(int, "7").result(PATIENCE) == 7


def test_a_subclass_that_starts_its_own_threads_is_served_by_them(pool_class: Any) -> None:
    class Counted(pool_class):  # type: ignore[misc]
        started = 0

        def _adjust_thread_count(self) -> None:
            self.started += 1
            super()._adjust_thread_count()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pool = Counted(2)
    reason = "ThreadPoolExecutor downgraded to stdlib behaviour: its class has an _adjust_thread_count of its own"
    assert [str(each.message) for each in caught] == [reason] * (pool_class is CLASSES["managed"])
    with pool:
        assert [pool.submit(pow, 2, power).result(PATIENCE) for power in range(3)] == [1, 2, 4]
    assert pool.started == 3  # The standard machinery asks at each submission.


def test_a_subclass_with_its_own_submit_and_shutdown_is_asked(pool_class: Any) -> None:
    said: list[str] = []

    class Told(pool_class):  # type: ignore[misc]
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            said.append("submit")
            return super().submit(fn, *args, **kwargs)

        def shutdown(self, *args: Any, **kwargs: Any) -> None:
            said.append("shutdown")
            super().shutdown(*args, **kwargs)

    with Told(1) as pool:
        assert list(pool.map(int, "12")) == [1, 2]
    assert said == ["submit", "submit", "shutdown"]
