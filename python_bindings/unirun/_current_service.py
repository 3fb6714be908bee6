"""Which service the code that runs now belongs to.

A worker process is one service; inside a host, a service is its thread or its task, and the threads of its pools.
"""

from __future__ import annotations

import os
from _contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contextvars import Token

    from unirun.service import ServiceContext

_here: ContextVar[ServiceContext | None] = ContextVar("unirun_service", default=None)
_of_process: ServiceContext | None = None
_is_stranger = False  # A forked child of a host or of a worker is nobody's service.


def current() -> ServiceContext | None:
    """The context of the service that this code belongs to; `None` outside of services. Thread: any."""
    return None if _is_stranger else _here.get() or _of_process


def enter(context: ServiceContext | None) -> Token[ServiceContext | None]:
    """Say that what runs from here on in this thread, or in this task, belongs to that service."""
    return _here.set(context)


def leave(mark: Token[ServiceContext | None]) -> None:
    """Say that it belongs to whom it did before ``enter`` gave this mark."""
    _here.reset(mark)


def is_process(context: ServiceContext) -> bool:
    """Whether all of this process belongs to that service."""
    return _of_process is context


def take_process(context: ServiceContext) -> None:
    """Say that all of this process belongs to that service."""
    global _of_process, _is_stranger
    _of_process = context
    _is_stranger = False  # A template has forked it.


def _become_stranger() -> None:
    global _is_stranger
    _is_stranger = True


os.register_at_fork(after_in_child=_become_stranger)
