"""A module that is being imported for as long as a test wants."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from traceback import walk_tb
from types import FrameType, ModuleType


class SlowModule(MetaPathFinder, Loader):
    """While this is entered, a thread imports the module ``name``; that ends when `finish` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.finish = threading.Event()
        self._begun = threading.Event()
        self._thread = threading.Thread(target=__import__, args=(name,), daemon=True)

    def __enter__(self) -> SlowModule:
        sys.meta_path.insert(0, self)
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self.finish.set()
        self._thread.join()
        sys.meta_path.remove(self)
        sys.modules.pop(self.name, None)

    def find_spec(
        self, name: str, _path: Sequence[str] | None = None, _target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(name, self) if name == self.name else None

    def exec_module(self, _module: ModuleType) -> None:
        self._begun.set()
        self.finish.wait()


def wait_until_it_imports(thread: int) -> None:
    """Wait until that thread waits for a module that another one is importing."""
    while (frame := sys._current_frames().get(thread)) is None or not _is_machinery(frame):
        time.sleep(0.001)


def struck_machinery(error: BaseException) -> bool:
    """Whether it was raised within Python's import machinery."""
    return any(_is_machinery(frame) for frame, _ in walk_tb(error.__traceback__))


def _is_machinery(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith("<frozen importlib.")
