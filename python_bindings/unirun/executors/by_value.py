"""Lambdas and local functions for the standard machinery of process pools: cloudpickle sends them by value.

The native engine has picklers of its own.
"""

from __future__ import annotations

import pickle
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ProcessPoolExecutor


def packed(*called: Any) -> bytes:
    """A function, its arguments and keywords, for `call`. Raises `ValueError` where cloudpickle is missing."""
    try:
        from cloudpickle import dumps  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("pickler='cloudpickle': it is not installed; say: pip install cloudpickle") from None
    pickled: bytes = dumps(called)
    return pickled


def call(pickled: bytes) -> Any:
    """In the worker: what was sent, called."""
    fn, args, kwargs = pickle.loads(pickled)
    return fn(*args, **kwargs)


@lru_cache
def sending_by_value(base: type[ProcessPoolExecutor]) -> type[ProcessPoolExecutor]:
    """``base`` with a ``submit`` that pickles the call by cloudpickle. Raises `ValueError` where that is missing."""
    packed(None)

    def submit(self: ProcessPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return base.submit(self, call, packed(fn, args, kwargs))

    return type(base.__name__, (base,), {"submit": submit, "__doc__": base.__doc__, "__module__": base.__module__})
