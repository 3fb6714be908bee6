"""Mirrors: modules that show another one, with some names of their own.

Whatever is not its own a mirror reads through to the standard module when it is asked for, and writes through
when it is set: a program that patches ``asyncio.sleep`` patches it for everybody, as ever. Thread: any.
"""

from __future__ import annotations

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import PathFinder
from importlib import import_module
from types import ModuleType

from unirun._standard import standard
from unirun.compat import mode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

PREFIX = "unirun.compat."
PACKAGES = ("asyncio", "concurrent")

_THREADS = {"ThreadPoolExecutor": "unirun.compat.threads"}
_PROCESSES = {"ProcessPoolExecutor": "unirun.compat.processes"}
_AWAITED = {"run_in_executor": "unirun.compat.loops", "to_thread": "unirun.compat.loops"}
# Who asks for a loop gets one whose default executor is ours. Where mirrors have the standard names
# asyncio itself finds our pools, and makes one when it needs one.
_LOOPS = {
    "get_event_loop": "unirun.compat.loops",
    "get_running_loop": "unirun.compat.loops",
    "new_event_loop": "unirun.compat.loops",
}

INJECTED: dict[str, dict[str, str]] = {
    "asyncio": _AWAITED,
    "concurrent.futures": {**_THREADS, **_PROCESSES},
    "concurrent.futures.process": _PROCESSES,
    "concurrent.futures.thread": _THREADS,
}
"""The standard modules that have mirrors, and which names of theirs come from where."""

IMPORTED: dict[str, dict[str, str]] = {
    **INJECTED,
    "asyncio": {**_AWAITED, **_LOOPS},
    "concurrent": {"futures": ""},
    "concurrent.futures": {**INJECTED["concurrent.futures"], "process": "", "thread": ""},
}
"""The same for who imports them by our names. "" is a module that is a mirror itself."""


class Mirror(ModuleType):
    # Shows `standard`, but for the names `own`, each of which comes from the module that it is mapped to.

    __standard__: ModuleType
    __own__: dict[str, str]

    __doc__: Any = property(lambda self: self.__standard__.__doc__)

    def __init__(self, standard: ModuleType, own: dict[str, str]) -> None:
        super().__init__(standard.__name__)
        state = vars(self)
        state.clear()  # Its name, its path and so on are the standard module's, too.
        state["__standard__"] = standard
        state["__own__"] = own

    def __getattr__(self, name: str) -> Any:
        home = self.__own__.get(name)
        if home is None:
            return getattr(self.__standard__, name)
        value = getattr(import_module(home), name) if home else import_module(f"{PREFIX}{self.__name__}.{name}")
        vars(self)[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.__own__:
            vars(self)[name] = value
        else:
            setattr(self.__standard__, name, value)

    def __delattr__(self, name: str) -> None:
        if name not in self.__own__:
            delattr(self.__standard__, name)
        elif vars(self).pop(name, self) is self:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")

    def __dir__(self) -> list[str]:
        return dir(self.__standard__)


_mirrors: dict[str, Mirror] = {}


def module_for(name: str) -> ModuleType:
    """What stands for the standard module ``name`` under our name: a mirror, or the module itself."""
    if mode.MODE == "passthrough" or name not in IMPORTED or _finder.injects:
        return import_module(name)
    found = _mirrors.get(name)
    if found is None:
        found = _mirrors.setdefault(name, Mirror(import_module(name), IMPORTED[name]))
    return found


# ---- How they are imported ----


class _Finder:
    """Finds whatever is below ``unirun.compat.asyncio`` and ``.concurrent``; if it injects, the standard names too."""

    injects = False

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name.startswith(PREFIX):
            shown = name.removeprefix(PREFIX)
            loader: Any = _Alias(shown)
            return ModuleSpec(name, loader) if shown.partition(".")[0] in PACKAGES else None
        if not self.injects or (name not in INJECTED and name != "concurrent.futures.interpreter"):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            injector: Any = _Injector if name in INJECTED else _OnStandardThreads
            spec.loader = injector(spec)
        return spec


class _Alias:
    """Has the import of one name give what stands for another."""

    def __init__(self, shown: str) -> None:
        self._shown = shown

    def create_module(self, spec: ModuleSpec) -> ModuleType:  # noqa: ARG002
        module = module_for(self._shown)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # The import system has put its own.


class _Injector:
    """Loads a standard module behind a mirror of it, which is what the program gets to see."""

    def __init__(self, spec: ModuleSpec) -> None:
        self._spec = spec
        self._loader: Any = spec.loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        behind = self._loader.create_module(spec) or ModuleType(spec.name)
        return Mirror(behind, INJECTED[spec.name])

    def exec_module(self, module: ModuleType) -> None:
        behind: ModuleType = vars(module).get("__standard__", module)
        self._spec.loader = behind.__loader__ = self._loader
        self._loader.exec_module(behind)


class _OnStandardThreads(_Injector):
    """Loads the standard pool of interpreters, which is built on what is inside of the standard pool of threads."""

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        created: ModuleType | None = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        threads = import_module("concurrent.futures.thread")
        package: Any = import_module("concurrent.futures")
        package.thread = standard("concurrent.futures.thread")
        try:
            super().exec_module(module)
        finally:
            package.thread = threads


_finder = _Finder()


def begin() -> None:
    """Let our names be imported."""
    if _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)


def inject() -> None:
    """Put mirrors under the standard names, in this interpreter and from now on.

    Who has imported a standard pool by its name before keeps it.
    """
    if mode.MODE == "passthrough":
        return
    _finder.injects = True
    begin()
    for name in sorted(INJECTED):  # Packages before what is in them.
        found = sys.modules.get(name)
        if found is not None and not isinstance(found, Mirror):
            mirror = sys.modules[name] = Mirror(found, INJECTED[name])
            package, _, last = name.rpartition(".")
            if package:
                setattr(sys.modules[package], last, mirror)
