"""A service under test, without a host: what README and docs promise."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from unirun import CancellationToken, Cancelled, Service, ServiceContext


class Counting(Service):
    def run(self, context: ServiceContext) -> int:
        context.ready()
        count = 0
        while not context.cancellation.is_cancellation_requested:
            context.heartbeat()
            count += 1
            if count == context.config["until"]:
                context.cancellation.cancel()
        context.status(f"{count}")
        return count


class Waiting(Service):
    async def run_async(self, context: ServiceContext) -> str:
        await asyncio.sleep(0)
        return context.path


def test_a_context_can_be_made_by_hand() -> None:
    assert Counting().run(ServiceContext(config={"until": 3})) == 3


def test_a_context_tells_what_the_service_says() -> None:
    said: list[dict[str, Any]] = []
    Counting().run(ServiceContext(config={"until": 1000}, heartbeat=3600.0, send=said.append))
    assert said == [{"type": "ready"}, {"type": "heartbeat"}, {"type": "status", "text": "1000"}]


def test_an_async_service_returns_its_coroutine() -> None:
    async def ran() -> object:
        return await Waiting().run_async(ServiceContext(path="a/b"))

    assert asyncio.run(ran()) == "a/b"


def test_a_service_that_overrides_nothing_says_so() -> None:
    with pytest.raises(NotImplementedError, match="overrides neither run nor run_async"):
        asyncio.run(Service().run_async(ServiceContext()))


def test_a_scope_ends_what_has_not_begun_once_a_stop_was_asked_for() -> None:
    token = CancellationToken()
    context = ServiceContext(cancellation=token)
    second_is_over = threading.Event()
    with context.run(flavor="threads", max_workers=1) as pool:
        first = pool.submit(second_is_over.wait, 20)  # Keeps the only thread until then.
        second = pool.submit(int)
        second.add_done_callback(lambda _: second_is_over.set())
        token.cancel()
    assert first.result() is True
    assert second.cancelled()


def test_a_scope_lets_an_exception_through() -> None:
    def use() -> None:
        with ServiceContext().run() as pool:
            pool.submit(int)
            raise Cancelled

    with pytest.raises(Cancelled):
        use()


def test_the_logger_is_named_after_the_path() -> None:
    assert ServiceContext(path="pipeline/ingest-2").logger.name == "pipeline.ingest-2"
