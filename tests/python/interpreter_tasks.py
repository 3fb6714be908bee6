"""What the tests of interpreter pools have called in other interpreters."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

calls = 0


def echo(value: Any) -> Any:
    return value


def count_calls() -> int:
    """How often this interpreter has called it."""
    global calls
    calls += 1
    return calls


def here() -> tuple[int, str]:
    """This interpreter and this thread."""
    import _interpreters  # type: ignore[import-not-found, unused-ignore]

    return _interpreters.get_current()[0], threading.current_thread().name


def raise_it(error: BaseException) -> None:
    raise error


def fail_deep(text: str) -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError(text) from error


class Stubborn(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def fail_stubbornly() -> None:
    raise Stubborn(1, 2)


class Box:
    def __init__(self, value: Any = None) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Box) and other.value == self.value

    __hash__ = None  # type: ignore[assignment]

    def double(self) -> Any:
        return self.value * 2


class Traitor:
    """Can be pickled, cannot be unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _refuse, ("gotcha",)


def _refuse(text: str) -> None:
    raise RuntimeError(text)


def make_lock() -> Any:
    return threading.Lock()


def make_traitor() -> Traitor:
    return Traitor()


def imported(name: str) -> bool:
    return name in sys.modules


def set_value(value: Any) -> Any:
    global calls
    calls = value
    return threading.Lock()  # What an initializer returns is nobody's.


def get_value() -> Any:
    return calls


def tell_and_wait(tell: int, wait: int) -> bytes:
    """Writes a byte and blocks until one can be read."""
    os.write(tell, b"x")
    return os.read(wait, 1)


def keywords(*values: Any, **named: Any) -> tuple[Any, ...]:
    return values, sorted(named.items())


def sum_in_pool(numbers: tuple[int, ...]) -> int:
    """A pool within a pool."""
    from unirun.executors.interpreters import InterpreterPoolExecutor

    with InterpreterPoolExecutor(1) as pool:
        return int(pool.submit(sum, numbers).result())
