"""Process pools that take lambdas and local functions: cloudpickle sends them by value."""

from __future__ import annotations

import pickle
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future, ProcessPoolExecutor


@lru_cache
def sending_by_value(base: type[ProcessPoolExecutor]) -> type[ProcessPoolExecutor]:
    """``base`` with a ``submit`` that pickles the call by cloudpickle. Raises `ValueError` where that is missing."""
    try:
        from cloudpickle import dumps  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ValueError("pickler='cloudpickle': it is not installed; say: pip install cloudpickle") from None

    def submit(self: ProcessPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return base.submit(self, call, dumps((fn, args, kwargs)))

    return type(base.__name__, (base,), {"submit": submit, "__doc__": base.__doc__, "__module__": base.__module__})


def call(pickled: bytes) -> Any:
    """In the worker: what was sent, called."""
    fn, args, kwargs = pickle.loads(pickled)
    return fn(*args, **kwargs)
