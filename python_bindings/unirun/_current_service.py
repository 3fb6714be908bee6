"""Which service the code that runs now belongs to.

A worker process is one service; inside a host, a service is its thread or its task, and the threads of its pools.
"""

from __future__ import annotations

import os
from _contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token
    from typing import Protocol

    from unirun._service_pools import ServicePools
    from unirun.cancellation import CancellationToken

    class Owner(Protocol):
        """What pools know of the `ServiceContext` that they belong to."""

        @property
        def path(self) -> str: ...
        @property
        def cancellation(self) -> CancellationToken: ...
        def name_pool(self, name: str | None) -> str: ...
        def _opened(self) -> ServicePools: ...
        def _end_pools(self) -> None: ...


_here: ContextVar[Owner | None] = ContextVar("unirun_service", default=None)
_of_process: Owner | None = None
_is_stranger = False  # A forked child of a host or of a worker is nobody's service.


def current() -> Owner | None:
    """The context of the service that this code belongs to; `None` outside of services. Thread: any."""
    return None if _is_stranger else _here.get() or _of_process


def enter(context: Owner | None) -> Token[Owner | None]:
    """Say that what runs from here on in this thread, or in this task, belongs to that service."""
    return _here.set(context)


def leave(mark: Token[Owner | None]) -> None:
    """Say that it belongs to whom it did before ``enter`` gave this mark."""
    _here.reset(mark)


def is_process(context: Owner) -> bool:
    """Whether all of this process belongs to that service."""
    return _of_process is context


def take_process(context: Owner) -> None:
    """Say that all of this process belongs to that service."""
    global _of_process, _is_stranger
    _of_process = context
    _is_stranger = False  # A template has forked it.


def _become_stranger() -> None:
    global _is_stranger
    _is_stranger = True


os.register_at_fork(after_in_child=_become_stranger)
