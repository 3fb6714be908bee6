"""`Scope`: what ``context.run()`` opens, a standard executor that ends with its block."""

from __future__ import annotations

from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from unirun.cancellation import CancellationToken

FLAVORS = ("auto", "threads", "processes")


class Scope:
    """Yields the executor; shuts it down when the block ends."""

    def __init__(self, cancellation: CancellationToken, *, flavor: str, max_workers: int | None, name: str) -> None:
        if flavor not in FLAVORS:
            raise ValueError(f"flavor: {flavor!r} is not one of {', '.join(FLAVORS)}")
        self._cancellation = cancellation
        self._flavor = flavor
        self._max_workers = max_workers
        self._name = name
        self._executor: Executor | None = None

    def __enter__(self) -> Executor:
        if self._flavor == "processes":
            # A fork of this process would copy its threads' locks in whatever state they are.
            from multiprocessing import get_context

            self._executor = ProcessPoolExecutor(self._max_workers, mp_context=get_context("forkserver"))
        else:
            self._executor = ThreadPoolExecutor(self._max_workers, thread_name_prefix=self._name)
        return self._executor

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        assert self._executor is not None
        stopping = self._cancellation.is_cancellation_requested
        self._executor.shutdown(wait=True, cancel_futures=stopping)

    async def __aenter__(self) -> Executor:
        return self.__enter__()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        # The loop stays free while the executor winds down.
        from asyncio import to_thread

        await to_thread(self.__exit__, exc_type, exc, tb)
