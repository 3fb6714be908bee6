"""`Future`: the standard class with a native state, which every native executor gives out."""

from __future__ import annotations

import threading
from concurrent import futures as _standard
from concurrent.futures import _base
from typing import TYPE_CHECKING, Any, TypeVar

from unirun import _pools

__all__ = ["Future"]

T = TypeVar("T")

if TYPE_CHECKING:

    class Future(_pools.NativeFuture, _standard.Future[T]):
        """A `concurrent.futures.Future` in every respect; made by the executors' ``submit``.

        Thread: any. It cannot be pickled, as the standard one cannot.
        """

else:

    class Future(_pools.NativeFuture, _standard.Future):
        __doc__ = "A `concurrent.futures.Future` in every respect; made by the executors' ``submit``."
        __slots__ = ()


def _log_callback(future: _standard.Future[Any], raised: BaseException) -> None:
    _base.LOGGER.error("exception calling callback for %r", future, exc_info=raised)


def _log_unexpected(future: _standard.Future[Any], state: str) -> None:
    _base.LOGGER.critical("Future %s in unexpected state: %s", id(future), state)


_pools.bind(Future, _base.CancelledError, _base.InvalidStateError, threading.Condition, _log_callback, _log_unexpected)
