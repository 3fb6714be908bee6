"""What the tests of process pools run in workers: importable in both processes."""

from __future__ import annotations

import copyreg
import marshal
import mmap
import os
import pickle
import signal
import time
from collections import ChainMap
from concurrent.futures import ProcessPoolExecutor as StandardPool
from pathlib import Path
from pickle import PickleBuffer
from types import FunctionType
from typing import Any, NoReturn

INITIALIZED: list[object] = []
SHARED = mmap.mmap(-1, 2)  # With workers that are forked.


def identity(value: Any) -> Any:
    return value


def add(left: Any, right: Any = 1) -> Any:
    return left + right


def keywords(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


def fail(error: BaseException) -> NoReturn:
    raise error  # The line that a remote traceback shows.


def load_slowly() -> str:
    time.sleep(0.05)  # Without the GIL.
    return "read"


class ReadSlowly:
    """Takes its time where it is unpickled, and is a string there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return load_slowly, ()


def read_slowly_once_asked() -> ReadSlowly:
    while SHARED[0] == 0:
        time.sleep(0.001)
    SHARED[1] = 1
    return ReadSlowly()


def mark_then_wait(path: str, gate: str) -> int:
    """Say that this call runs, then wait for the gate to be there."""
    Path(path).write_text(str(os.getpid()))
    while not Path(gate).exists():
        time.sleep(0.002)
    return os.getpid()


def die(how: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), how)
    while True:
        signal.pause()


def leave(code: int) -> NoReturn:
    os._exit(code)


def crash_by_fault() -> None:
    import ctypes

    ctypes.string_at(0)


def has_text(path: str) -> bool:
    return Path(path).exists() and Path(path).stat().st_size > 0


def has_text_at_last(path: str) -> bool:
    while not has_text(path):
        time.sleep(0.01)
    return True


def sleep_for_ever(path: str) -> NoReturn:
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(3600)


def initialize(value: object) -> None:
    INITIALIZED.append(value)


def initialized() -> list[object]:
    return INITIALIZED


def note_and_refuse_to_start(path: str) -> NoReturn:
    with Path(path).open("a") as file:
        file.write("tried\n")
    os._exit(1)


def refuse_to_start() -> NoReturn:
    raise RuntimeError("this initializer fails")


def unpicklable_result() -> Any:
    return lambda: None


class BadAtPickle:
    def __reduce__(self) -> NoReturn:
        raise ZeroDivisionError("pickled")


class BadAtUnpickle:
    """It travels, and cannot be made on the other side."""

    def __reduce__(self) -> Any:
        return fail, (ValueError("unpickled"),)


class EndsAtUnpickle:
    def __reduce__(self) -> Any:
        return leave, (3,)


def bad_at_unpickle() -> BadAtUnpickle:
    return BadAtUnpickle()


class TwoPartError(Exception):
    """Its pickle cannot be read: the constructor wants more than `args` holds."""

    def __init__(self, left: str, right: str) -> None:
        super().__init__(left)
        self.right = right


def raise_two_parts() -> NoReturn:
    raise TwoPartError("left", "right")


def nested(kind: type[StandardPool], value: int) -> int:
    with kind(1) as pool:
        result: int = pool.submit(add, value).result(30)
    return result


def large_bytes(size: int) -> bytes:
    return bytes(size)


class Block:
    """As an array: its memory travels beside its pickle, where the protocol knows how."""

    def __init__(self, memory: Any) -> None:
        self.memory = memoryview(memory)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Block, (PickleBuffer(self.memory) if protocol >= 5 else bytes(self.memory),)


class PicklerByValue(pickle.Pickler):
    """What cloudpickle's does, for functions without a closure."""

    def __init__(self, file: Any, protocol: int, *, buffer_callback: Any) -> None:
        super().__init__(file, protocol, buffer_callback=buffer_callback)
        self.dispatch_table: Any = ChainMap(copyreg.dispatch_table)

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, FunctionType) and "<" in value.__qualname__:
            return function_from, (marshal.dumps(value.__code__),)
        return NotImplemented


def function_from(code: bytes) -> FunctionType:
    return FunctionType(marshal.loads(code), {})
