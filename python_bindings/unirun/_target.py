"""Targets: from ``"module:attribute"`` to something that runs.

A target names a module or a Python file, a colon, and an attribute (dots allowed). A file is
loaded as `multiprocessing`'s spawn loads a main file: under the name ``__mp_main__``, so that
``if __name__ == "__main__"`` is not executed and process pools find its functions again.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any

    from unirun.service import ServiceContext

CODE_VARARGS = 0x04  # inspect.CO_VARARGS; importing inspect costs more than all the rest here.


def load(target: str, *, in_process: bool = False) -> Any:
    """The object that ``target`` names.

    With ``in_process`` the interpreter has a program of its own: a file becomes a module beside
    its ``__main__``, once, instead of taking its place.
    Raises `TargetError` that says what is missing; what the module itself raises passes through.
    """
    found: Any = preload(target, in_process=in_process)
    place, _, attribute = target.rpartition(":")
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise _missing_attribute(target, place, part, found) from None
    return found


def preload(target: str, *, in_process: bool = False) -> ModuleType:
    """The module of ``target``, imported once; raises as `load` does."""
    place, colon, attribute = target.rpartition(":")
    if not colon or not place or not all(part.isidentifier() for part in attribute.split(".")):
        raise _error(f'target {target!r}: expected "module:attribute" or "path/to/file.py:attribute"')
    if in_process and getattr(getattr(sys.modules["__main__"], "__spec__", None), "name", None) == place:
        return sys.modules["__main__"]  # python -m place
    if not place.endswith(".py"):
        return _load_module(place, target)
    return _load_file_beside(place, target) if in_process else _load_file(place, target)


def _load_module(name: str, target: str) -> ModuleType:
    from importlib import import_module

    if not all(part.isidentifier() for part in name.split(".")):
        raise _error(f"target {target!r}: {name!r} is not the name of a module")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # A module that the target's own code imports is that code's affair: it keeps its traceback.
        if error.name is None or not (name + ".").startswith(error.name + "."):
            raise
        raise _error(f"target {target!r}: no module named {error.name!r}; looked in {', '.join(_places())}") from None


def _load_file(path: str, target: str) -> ModuleType:
    from os.path import abspath, dirname

    path = abspath(path)
    loaded = sys.modules.get("__mp_main__")
    if loaded is not None and getattr(loaded, "__file__", None) == path:
        return loaded  # By the template that this worker was forked from.
    module = type(sys)("__mp_main__")
    module.__file__ = path
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise _error(f"target {target!r}: cannot read {path}: {error.strerror}") from None
    sys.path.insert(0, dirname(path))
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
    exec(compile(source, path, "exec"), module.__dict__)
    return module


def _load_file_beside(path: str, target: str) -> ModuleType:
    """As a module under its own name, so that process pools find its functions again."""
    from importlib.util import module_from_spec, spec_from_file_location
    from os.path import abspath, basename, dirname

    path = abspath(path)
    if getattr(sys.modules["__main__"], "__file__", None) and abspath(str(sys.modules["__main__"].__file__)) == path:
        return sys.modules["__main__"]
    name = basename(path)[: -len(".py")]
    known = sys.modules.get(name)
    if known is not None and getattr(known, "__file__", None) != path:
        name = path  # Somebody else's name; as a path it is nobody's.
        known = sys.modules.get(name)
    if known is not None:
        return known
    if dirname(path) not in sys.path:
        sys.path.insert(0, dirname(path))
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise _error(f"target {target!r}: {path} is no Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except OSError as error:
        del sys.modules[name]
        raise _error(f"target {target!r}: cannot read {path}: {error.strerror}") from None
    except BaseException:
        del sys.modules[name]
        raise
    return module


def check(target: Any, name: str, *, on_loop: bool) -> None:
    """Raise `TargetError` if ``target`` cannot run: at all, or on an event loop with ``on_loop``."""
    from unirun.service import Service

    if isinstance(target, type) and not issubclass(target, Service):
        raise _error(f"target {name!r}: the class is not a subclass of unirun.Service")
    if not callable(target) and not isinstance(target, Service):
        raise _error(
            f"target {name!r}: expected a Service, a function or an async function, found {type(target).__name__}"
        )
    if on_loop and not _is_async(target):
        service = isinstance(target, (type, Service))
        found, remedy = (
            ("has run and no run_async", "override run_async") if service else ("is no async def", "make it one")
        )
        raise _error(
            f"target {name!r}: it {found}, and would block the event loop; {remedy}, "
            'or take the executor "process" or "thread"'
        )


def bind(target: Any, name: str, context: ServiceContext, *, on_loop: bool = False) -> tuple[Callable[[], Any], bool]:
    """What to call, and whether it takes the context: only then can it see a stop coming.

    An async target's call returns a coroutine, and with ``on_loop`` nothing else will do. A
    `Service` subclass is instantiated here. Raises `TargetError` for what cannot run.
    """
    from unirun.service import Service

    check(target, name, on_loop=on_loop)
    if isinstance(target, type):
        target = target()
    if isinstance(target, Service):
        run = target.run_async if on_loop and not _is_coroutine_function(target.run) else target.run
        return lambda: run(context), True
    if takes_context(target):
        return lambda: target(context, *context.arguments), True
    return lambda: target(*context.arguments), False


def _is_async(target: Any) -> bool:
    from unirun.service import Service

    kind = target if isinstance(target, type) else type(target)
    if issubclass(kind, Service):
        # One that overrides neither says so itself when it is run.
        return kind.run is Service.run or kind.run_async is not Service.run_async or _is_coroutine_function(kind.run)
    return _is_coroutine_function(target) or _is_coroutine_function(kind.__call__)


def _is_coroutine_function(function: Any) -> bool:
    from inspect import iscoroutinefunction  # asyncio has imported it already.

    return iscoroutinefunction(function)


def takes_context(function: Callable[..., object]) -> bool:
    """Whether ``function`` has a parameter that can receive the context."""
    while True:
        inner = getattr(function, "__wrapped__", None)
        if inner is None:
            break
        function = inner
    bound = 0
    if getattr(function, "__self__", None) is not None:
        function, bound = getattr(function, "__func__", function), 1
    code = getattr(function, "__code__", None)
    if code is not None:
        return bool(code.co_argcount > bound or code.co_flags & CODE_VARARGS)

    from inspect import Parameter, signature  # A partial, a callable object, a C function.

    positional = (
        Parameter.POSITIONAL_ONLY,
        Parameter.POSITIONAL_OR_KEYWORD,
        Parameter.VAR_POSITIONAL,
    )
    try:
        parameters = signature(function).parameters.values()
    except ValueError:
        return False
    return any(parameter.kind in positional for parameter in parameters)


def _places() -> Sequence[str]:
    return [place or "." for place in sys.path[:4]] + (["..."] if len(sys.path) > 4 else [])


def _missing_attribute(target: str, place: str, attribute: str, owner: Any) -> ImportError:
    from difflib import get_close_matches

    close = get_close_matches(attribute, [name for name in dir(owner) if name[0] != "_"], n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    where = "it" if isinstance(owner, type(sys)) else repr(owner)
    return _error(f"target {target!r}: found {place}, but {where} has no {attribute!r}{hint}")


def _error(message: str) -> ImportError:
    from unirun.errors import TargetError

    return TargetError(message)
