"""Recordings: every call that a program gives to a pool, how it ended and how long that took.

``UNIRUN_COMPAT_RECORD=FILE`` appends one JSON object a line to FILE, when the call is over, in either mode and in
every process that has the variable. Arguments and messages of exceptions are left out;
``UNIRUN_COMPAT_RECORD_ARGUMENTS=1`` adds the arguments as their ``repr``.

    {"mode": "managed", "pool": "thread", "engine": "native", "function": "module.name", "outcome": "result",
     "type": "int", "at": 1763760000.1, "seconds": 0.0021}

``outcome`` is ``result``, ``error``, ``cancelled`` or ``refused`` (submit itself raised), ``type`` the class of what
came back; ``seconds`` count from ``submit`` to the end. `unirun.compat.replay` compares recordings.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from typing import Any

VARIABLE = "UNIRUN_COMPAT_RECORD"
WITH_ARGUMENTS = "UNIRUN_COMPAT_RECORD_ARGUMENTS"
LONGEST = 200  # Characters of an argument's repr.


def begin() -> None:
    """Record if the environment says so: from now on the pools of this mode have a submit() that does."""
    path = os.environ.get(VARIABLE, "")
    if not path:
        return
    from importlib import import_module

    from unirun.compat import _mirror, mode

    try:
        recording = Recording(path, mode.MODE, os.environ.get(WITH_ARGUMENTS, "") in ("1", "true", "yes", "on"))
    except OSError as error:
        _stopped(path, error)
        return
    for pool, name in (("thread", "ThreadPoolExecutor"), ("process", "ProcessPoolExecutor")):
        import_module(f"concurrent.futures.{pool}")
        kind = getattr(_mirror.module_for(f"concurrent.futures.{pool}"), name)
        kind.submit = recording.of(pool, kind.submit)


class Recording:
    """The file, and what is written to it. Thread: any."""

    def __init__(self, path: str, mode: str, with_arguments: bool) -> None:
        self._path = os.path.abspath(path)
        self._mode = mode
        self._with_arguments = with_arguments
        # Appended a line at a time by all processes: none is torn.
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def of(self, pool: str, submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
        """``submit``, recorded."""
        from functools import partial, wraps
        from time import perf_counter, time

        @wraps(submit)
        def recorded(self_: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
            engine = "standard" if getattr(self_, "_engine", None) is None else "native"
            row = {"mode": self._mode, "pool": pool, "engine": engine}
            if args:
                function, given, named = call_of(args[0], args[1:], kwargs)
                row["function"] = name_of(function)
                if self._with_arguments:
                    row["arguments"] = shortened(given, named)
            at, began = time(), perf_counter()

            def ended(outcome: str, value: object) -> None:
                kind = {} if value is None and outcome == "cancelled" else {"type": type(value).__qualname__}
                self._write({**row, "outcome": outcome, **kind, "at": at, "seconds": perf_counter() - began})

            try:
                future = submit(self_, *args, **kwargs)
            except BaseException as error:
                ended("refused", error)
                raise
            future.add_done_callback(partial(_tell, ended))
            return future

        return recorded

    def _write(self, row: dict[str, Any]) -> None:
        from json import dumps

        if self._file < 0:
            return
        try:
            os.write(self._file, dumps(row).encode() + b"\n")
        except OSError as error:
            self._file = -1
            _stopped(self._path, error)


def _tell(ended: Callable[[str, object], None], future: Future[Any]) -> None:
    if future.cancelled():
        ended("cancelled", None)
    elif (error := future.exception()) is not None:
        ended("error", error)
    else:
        ended("result", future.result())


def call_of(
    function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, tuple[Any, ...], dict[str, Any]]:
    """The call that is meant: what partial(), map() and to_thread() have wrapped around it is looked through."""
    from contextvars import Context
    from functools import partial

    while True:
        in_chunks = getattr(function, "__qualname__", "") == "_process_chunk"
        if isinstance(function, partial):
            function, args, kwargs = function.func, (*function.args, *args), {**function.keywords, **kwargs}
        elif args and (in_chunks or isinstance(getattr(function, "__self__", None), Context)):
            function, args = args[0], args[1:]
        else:
            return function, args, kwargs


def name_of(function: object) -> str:
    """Where a function is found."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{name}"


def shortened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """A call's arguments, in brackets."""
    told = [_repr(value) for value in args] + [f"{name}={_repr(value)}" for name, value in kwargs.items()]
    return f"({', '.join(told)})"


def _repr(value: object) -> str:
    try:
        text = repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__} in its repr>"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _stopped(path: str, error: OSError) -> None:
    from unirun._warn import warn_caller

    warn_caller(f"{VARIABLE}: {path} cannot be written, so nothing more is recorded: {error.strerror}")
