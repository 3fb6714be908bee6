"""How calls and outcomes get from one interpreter to another where the engine does not carry them itself.

From Python 3.14 on a function is brought over once for each interpreter by the standard library's machinery, which
also makes the calls that only it can carry, so that what can be submitted is the same. Below, all goes by pickle.
"""

from __future__ import annotations

import pickle
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["BrokenInterpreterPool", "Context", "Errors", "Standard"]

if sys.version_info >= (3, 14) and not TYPE_CHECKING:
    from concurrent.futures.interpreter import BrokenInterpreterPool, do_call
    from concurrent.futures.interpreter import InterpreterPoolExecutor as Standard
    from concurrent.interpreters import ExecutionFailed, NotShareableError, create_queue

    import _interpreters
else:
    from unirun._standard import standard

    if TYPE_CHECKING:
        from concurrent.futures.thread import BrokenThreadPool
        from concurrent.futures.thread import ThreadPoolExecutor as Standard
    else:
        thread = standard("concurrent.futures.thread")
        BrokenThreadPool, Standard = thread.BrokenThreadPool, thread.ThreadPoolExecutor

    class BrokenInterpreterPool(BrokenThreadPool):
        """An interpreter's initializer failed."""

    class NotShareableError(TypeError):
        """What cannot be carried to another interpreter."""

    class ExecutionFailed(RuntimeError):
        """What was raised in another interpreter; `excinfo` tells of it."""

        def __init__(self, excinfo: SimpleNamespace) -> None:
            super().__init__(excinfo.formatted)
            self.excinfo = excinfo

        def __str__(self) -> str:
            return f"{super().__str__()}\n\nUncaught in the interpreter:\n\n{self.excinfo.errdisplay}"


class Errors:
    """What the engine makes of an outcome that is no result. Thread: with the home GIL."""

    # Runs in the other interpreter, when something is first raised there.
    far_side = """
def describe(raised):
    kind = type(raised)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    try:
        message = str(raised)
    except Exception as error:
        message = f"<str() raised {type(error).__name__}>"
    try:
        import traceback
        display = "".join(traceback.format_exception(raised)).rstrip()
    except Exception:
        display = f"{name}: {message}"
    try:
        import _pickle
        pickled = _pickle.dumps(raised, 5)
    except Exception:
        pickled = None
    formatted = f"{name}: {message}" if message else name
    display = display.encode("utf-8", "backslashreplace").decode()
    return pickled, kind.__name__, kind.__qualname__, kind.__module__, message, formatted, display

def unsendable(raised, result):
    return type(result).__qualname__, f"{type(raised).__name__}: {raised}"
"""

    @staticmethod
    def failure(
        pickled: bytes | None, name: str, qualname: str, module: str, message: str, formatted: str, display: str
    ) -> BaseException:
        """The exception itself, where it can be had, because of an `ExecutionFailed` with its traceback."""
        kind = SimpleNamespace(__name__=name, __qualname__=qualname, __module__=module)
        info = SimpleNamespace(type=kind, msg=message, formatted=formatted, errdisplay=display)
        failed = ExecutionFailed(info)
        try:
            raised = None if pickled is None else pickle.loads(pickled)
        except Exception:
            raised = None
        if not isinstance(raised, BaseException):
            return failed
        raised.__cause__ = failed
        return raised

    @staticmethod
    def unsendable(kind: str, why: str) -> BaseException:
        return NotShareableError(f"the result, of type {kind}, cannot be carried home: {why}")

    @staticmethod
    def unreadable(raised: BaseException) -> BaseException:
        error = NotShareableError(f"the result could not be unpickled: {type(raised).__name__}: {raised}")
        error.__cause__ = raised
        return error


class Context:
    """An interpreter, seen from home. Thread: the worker's."""

    def __init__(self, interpreter_id: int) -> None:
        self._id = interpreter_id
        self._raised: Any = None

    if sys.version_info >= (3, 14) and not TYPE_CHECKING:

        def keep(self, place: int, function: Callable[..., Any]) -> None:
            """Bring the function over, to stay. Raises where that cannot be done."""
            _, failed = _interpreters.call(self._id, _keep, (place, function), {})
            if failed is not None:
                raise ExecutionFailed(failed)

        def call(
            self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any] | None
        ) -> Any:
            """The call as the standard executor makes it."""
            if self._raised is None:
                self._raised = create_queue()
            task = (self._raised, function, arguments, keywords or {})
            result, failed = _interpreters.call(self._id, do_call, task, {})
            if failed is None:
                return result
            raised = self._raised.get()
            if raised is None:
                raise ExecutionFailed(failed)
            raise raised from ExecutionFailed(failed)

    else:

        def keep(self, _place: int, function: Callable[..., Any]) -> bytes:
            """The function as it travels. Raises where that cannot be done."""
            try:
                pickled = pickle.dumps(function)
            except Exception as error:
                raise NotShareableError(f"{function!r} cannot be carried to another interpreter: {error}") from error
            if b"__main__" in pickled:
                raise NotShareableError(f"{function!r} is of __main__: put it into a module")
            return pickled

        def call(self, function: Callable[..., Any], *given: Any) -> Any:
            """Say why the engine cannot carry the call."""
            self.keep(0, function)
            raise NotShareableError(
                "below Python 3.14 an interpreter calls functions and classes of modules that it can import,"
                f" with arguments that can be pickled and are not of __main__: not {function!r} with {given!r}"
            )

    def call_each(self, function: Callable[..., Any], calls: tuple[Any, ...], _: None) -> Any:
        """A chunk of calls."""
        return self.call(_call_each, (function, calls), None)


def _call_each(function, calls):  # type: ignore[no-untyped-def]  # As _keep.
    return [function(*arguments) for arguments in calls]


def _keep(place, function):  # type: ignore[no-untyped-def]  # Travels as code: it names nothing outside.
    import sys

    vars(sys)["_unirun_functions"][place] = function
