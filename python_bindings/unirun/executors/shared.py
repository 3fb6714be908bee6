"""The pools that the whole process shares: one for each kind and size, made at first use.

They live until `close_all`, which `unirun.reset` and the end of the interpreter call. A pool that was shut
down or broke is replaced at its next use. Thread: any.
"""

from __future__ import annotations

import atexit
import os
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from unirun.executors.pools import NewPool, new_pool

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from unirun.config import RuntimeConfig
    from unirun.executors.pools import Kind

NAME = "unirun-thread"

Key: TypeAlias = "tuple[object, ...]"  # Kind, size, and what else makes pools of a kind different.
_pools: dict[Key, NewPool] = {}
_lock = Lock()
_parents: list[dict[Key, NewPool]] = []  # In a forked child: kept, for their finalizers would reach into the parent.


def shared_pool(kind: Kind, max_workers: int | None, config: RuntimeConfig) -> NewPool:
    """The shared pool of this kind and size."""
    key: Key = (kind, max_workers, config.engine)
    if kind == "process":
        key += (config.pickler, config.on_worker_crash, config.task_timeout)
    elif kind == "subinterpreter":
        key += (config.modules,)
    found = _pools.get(key)
    if found is not None and _takes_tasks(found.executor):
        return found
    with _lock:
        found = _pools.get(key)
        if found is None or not _takes_tasks(found.executor):
            found = _pools[key] = new_pool(kind, max_workers, NAME, config)
        return found


def close_all(*, cancel_futures: bool = False) -> None:
    """Shut all shared pools down and wait for them; with ``cancel_futures``, what has not begun never does."""
    with _lock:
        closing = list(_pools.values())
        _pools.clear()
    for pool in closing:
        pool.executor.shutdown(wait=True, cancel_futures=cancel_futures)


def _takes_tasks(pool: Executor) -> bool:
    state = pool.__dict__
    return not (state.get("_shutdown") or state.get("_shutdown_thread") or state.get("_broken"))


def _forget() -> None:
    """After a fork: the threads of these pools are the parent's."""
    global _pools, _lock
    _lock = Lock()
    _parents.append(_pools)
    _pools = {}


os.register_at_fork(after_in_child=_forget)
atexit.register(close_all)
