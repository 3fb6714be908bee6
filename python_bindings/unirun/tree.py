"""`Child` and `Supervisor`: a tree built in Python.

Both only write down what a configuration would say, in the same words; what is allowed and what
is the default is decided in C++, once, for both. Durations are in seconds (float), or texts such as
``"250ms"``. The members are those of ``configs/unirun.schema.json``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from unirun import _objects, _target
from unirun.errors import InvalidArgument
from unirun.service import Service

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
ExecutorKind = Literal["process", "thread", "async", "async_process"]
Duration = float | str
Target = type[Service] | Callable[..., object] | str

# Members that hold durations, wherever they stand.
_DURATIONS = (
    "period",
    "probe_interval",
    "shutdown",
    "start_timeout",
    "initial",
    "max",
    "stable_after",
    "interval",
    "timeout",
)


class Child:
    """A worker: what to run, and what its death means.

    One of ``target`` (a `Service` subclass, a function, an async function, or its name
    ``"module:attribute"``) and ``command`` (a program and its arguments) says what to run. A
    ``target`` that is not a name must be importable by that name in another process; of a script,
    everything outside ``if __name__ == "__main__":`` is. With the executor ``"thread"`` or
    ``"async"`` it may be any object: a lambda, a bound method, a class inside a function.
    """

    def __init__(
        self,
        id: str,
        *,
        target: Target | None = None,
        command: Sequence[str] | None = None,
        native: str | None = None,
        executor: ExecutorKind | None = None,
        config: Mapping[str, Any] | None = None,
        arguments: Sequence[Any] | None = None,
        instances: int | None = None,
        restart: Restart | None = None,
        shutdown: Duration | None = None,
        significant: bool | None = None,
        start_timeout: Duration | None = None,
        backoff: Mapping[str, Any] | None = None,
        depends_on: Sequence[str | Mapping[str, str]] | None = None,
        readiness: Mapping[str, Any] | None = None,
        liveness: Mapping[str, Any] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, Any] | None = None,
        output: Mapping[str, Any] | None = None,
        start: Literal["template", "fresh"] | None = None,
        preload: Sequence[str] | None = None,
        standby: int | None = None,
        standby_after: Literal["death", "reaped"] | None = None,
        **more: Any,
    ) -> None:
        """Write the child down.

        A ``target`` in a process is forked from a template process that has imported ``preload``
        (default: its module); ``standby`` workers of it wait to take over from one that dies.
        ``shutdown`` is a duration, ``"brutal_kill"`` or ``"infinity"``. ``more`` takes the other
        members of the schema under their own names: ``rlimits``, ``nice``, ``user`` and so on.
        Raises `InvalidArgument` for a target that no other process could import.
        """
        self.id = id
        self._members = {
            "id": id,
            "python": None if target is None else _target_for(target, executor),
            "command": None if command is None else list(command),
            "native": native,
            "executor": executor,
            "config": config,
            "arguments": arguments,
            "instances": instances,
            "restart": restart,
            "shutdown": shutdown,
            "significant": significant,
            "start_timeout": start_timeout,
            "backoff": backoff,
            "depends_on": depends_on,
            "readiness": readiness,
            "liveness": liveness,
            "cwd": None if cwd is None else os.fspath(cwd),
            "env": env,
            "output": output,
            "start": start,
            "preload": None if preload is None else list(preload),
            "standby": standby,
            "standby_after": standby_after,
            **more,
        }

    def to_json(self) -> dict[str, Any]:
        """The child as a configuration would say it."""
        return _written(self._members)

    def __repr__(self) -> str:
        return f"Child({self.id!r})"


class Supervisor:
    """A supervisor and its children, workers or supervisors, in the order of their start."""

    def __init__(
        self,
        id: str,
        *,
        children: Sequence[Child | Supervisor] = (),
        strategy: Strategy | None = None,
        max_restarts: int | None = None,
        period: Duration | None = None,
        auto_shutdown: AutoShutdown | None = None,
        on_exhausted: Literal["escalate", "probe"] | None = None,
        probe_interval: Duration | None = None,
        restart: Restart | None = None,
        shutdown: Duration | None = None,
        significant: bool | None = None,
        backoff: Mapping[str, Any] | None = None,
        depends_on: Sequence[str | Mapping[str, str]] | None = None,
    ) -> None:
        """Write the supervisor down; more than ``max_restarts`` in a ``period`` end it."""
        self.id = id
        self.children = tuple(children)
        self._members = {
            "id": id,
            "strategy": strategy,
            "restart_intensity": _written({"max_restarts": max_restarts, "period": period}) or None,
            "auto_shutdown": auto_shutdown,
            "on_exhausted": on_exhausted,
            "probe_interval": probe_interval,
            "restart": restart,
            "shutdown": shutdown,
            "significant": significant,
            "backoff": backoff,
            "depends_on": depends_on,
        }

    def to_json(self) -> dict[str, Any]:
        """The supervisor as a configuration would say it."""
        return {
            **_written(self._members),
            "children": [child.to_json() for child in self.children],
        }

    def __repr__(self) -> str:
        return f"Supervisor({self.id!r}, children={list(self.children)!r})"


def target_name(target: Target) -> str:
    """The name by which another process imports ``target``: ``"module:attribute"``.

    For what a script defined it is ``"path/to/file.py:attribute"``. Raises `InvalidArgument` for
    what has no such name: a lambda, something local to a function, an interactive session.
    """
    if isinstance(target, str):
        return target
    module_name = getattr(target, "__module__", None)
    attribute = getattr(target, "__qualname__", None)
    if module_name is None or attribute is None:
        raise InvalidArgument(f"target: {target!r} has no name; give a class, a function or a text")
    if "<" in attribute:
        raise InvalidArgument(
            f"target: {attribute} is local to a function, and another process cannot import it; "
            "define it at the top of a module"
        )
    if module_name not in ("__main__", "__mp_main__"):
        return f"{module_name}:{attribute}"
    main = sys.modules[module_name]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name is not None:  # python -m package.module
        return f"{spec.name}:{attribute}"
    file = getattr(main, "__file__", None)
    if file is None or not os.path.exists(file):
        raise InvalidArgument(
            f"target: {attribute} was defined interactively, and another process cannot import it; put it into a file"
        )
    return f"{os.path.abspath(file)}:{attribute}"


def _target_for(target: Target, executor: ExecutorKind | None) -> str:
    """The name of ``target``; inside this process, where nothing is imported, any object has one."""
    if executor not in ("thread", "async") or isinstance(target, str):
        return target_name(target)
    try:
        name = target_name(target)
        if _target.load(name, in_process=True) is target:
            return name
    except (InvalidArgument, ImportError):
        pass
    return _objects.name_of(target)


def _written(members: Mapping[str, Any]) -> dict[str, Any]:
    """``members`` as JSON: what was not said is left out, seconds become ``"1.5s"``."""
    written: dict[str, Any] = {}
    for name, value in members.items():
        if value is None:
            continue
        if isinstance(value, Mapping) and name not in ("config", "env"):
            written[name] = _written(value)
        elif name in _DURATIONS and isinstance(value, (int, float)):
            written[name] = f"{value:.9f}".rstrip("0").rstrip(".") + "s"
        else:
            written[name] = value
    return written
