"""`RuntimeConfig`: how executors are chosen and made, from code or from the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from unirun._warn import warn_caller

if TYPE_CHECKING:
    from collections.abc import Sequence

Mode: TypeAlias = Literal["auto", "thread", "process", "subinterpreter", "none"]
"""What is asked of the scheduler. ``none`` is the shared thread pool, with nothing decided."""

ThreadMode: TypeAlias = Literal["auto", "gil", "nogil"]
"""Whether threads are taken to compute at the same time: as they do here, never, always."""

Engine: TypeAlias = Literal["native", "stdlib"]
Pickler: TypeAlias = Literal["pickle", "cloudpickle"]
OnWorkerCrash: TypeAlias = Literal["break", "replace"]

YES = ("1", "true", "yes", "on")
NO = ("0", "false", "no", "off")
PREFIX = "UNIRUN_"


@dataclass(frozen=True, slots=True)
class RuntimeConfig:
    """How executors are chosen and made.

    Arguments of a call go before it, and it goes before the environment: what is None here is looked up
    there, then left to the capabilities. Raises `ValueError` for a word that is none of the choices.
    """

    mode: Mode = "auto"
    """What ``auto`` stands for: decided by the rest, or always the same."""

    cpu_bound: bool | None = None
    """Tasks compute: under a GIL they go to processes."""

    io_bound: bool | None = None
    """Tasks wait: they go to threads."""

    prefers_subinterpreters: bool | None = None
    """Interpreters before processes and threads; below 3.14, and without a GIL, this is the consent to use them."""

    max_workers: int | None = None
    """The size of pools for which the call names none."""

    auto: bool = True
    """False: nothing is decided; ``auto`` is ``mode``, and if that is ``auto`` too, the shared thread pool."""

    thread_mode: ThreadMode = "auto"
    """``gil``: never count on threads to compute at the same time; ``nogil``: count on it."""

    force_threads: bool = False
    """``auto`` is threads, whatever else is said."""

    force_process: bool = False
    """``auto`` is processes, whatever else is said but ``force_threads``."""

    engine: Engine | None = None
    """``stdlib``: the plain classes of the standard library. Default: ``native``."""

    pickler: Pickler | None = None
    """``cloudpickle``, where it is installed: lambdas and local functions go to processes too. Default: ``pickle``."""

    on_worker_crash: OnWorkerCrash | None = None
    """Of process pools: ``replace``: the death of a worker fails its call alone. Default: ``break``, the whole pool."""

    task_timeout: float | None = None
    """Of process pools: seconds that a call may run; after that its worker is ended. Default: without end."""

    modules: Sequence[str] | None = None
    """Of pools of interpreters: what each imports before its first task. Default: isolated, each what it needs."""

    progress: bool | None = None
    """A progress bar for each `Run`, on a terminal, by rich or tqdm where installed. Default: False."""

    def __post_init__(self) -> None:
        for name in CHOICES:
            if not (getattr(self, name) is None and name in OPEN):
                check(name, getattr(self, name), "RuntimeConfig.")
        for name in ("max_workers", "task_timeout", "modules"):
            if getattr(self, name) is not None:
                check(name, getattr(self, name), "RuntimeConfig.")
        if self.modules is not None:
            object.__setattr__(self, "modules", tuple(self.modules))

    @classmethod
    def from_env(cls) -> RuntimeConfig:
        """What the variables ``UNIRUN_MODE``, ``UNIRUN_AUTO`` and so on say: one for each field.

        Yes is ``1``, ``true``, ``yes`` or ``on``, no is ``0``, ``false``, ``no`` or ``off``. A value that is
        none of the choices counts as not given, with a `RuntimeWarning` that names them.
        """
        said: dict[str, Any] = {}
        for field in fields(cls):
            variable = PREFIX + field.name.upper()
            text = os.environ.get(variable, "").strip()
            if not text:
                continue
            try:
                said[field.name] = _read(field.name, text)
            except ValueError as error:
                warn_caller(f"{variable}={text!r} counts as not set: it is not {error}")
        return cls(**said)

    def over(self, environment: RuntimeConfig) -> RuntimeConfig:
        """This one, with what it leaves None taken from ``environment``."""
        missing = {name: getattr(environment, name) for name in OPEN if getattr(self, name) is None}
        return replace(self, **missing)


def check(name: str, value: Any, prefix: str = "") -> None:
    """Raise `ValueError` or `TypeError` for a value that the field ``name`` cannot have."""
    if name in CHOICES:
        if value not in CHOICES[name]:
            raise ValueError(f"{prefix}{name}: {value!r} is not one of {', '.join(CHOICES[name])}")
    elif name == "max_workers":
        if value <= 0:
            raise ValueError(f"{prefix}max_workers must be greater than 0, not {value}")
    elif name == "task_timeout":
        if not isinstance(value, int | float):
            raise TypeError(f"{prefix}task_timeout must be a number of seconds, not {value!r}")
        if not 0 < value < float("inf"):
            raise ValueError(f"{prefix}task_timeout must be a number of seconds greater than 0, not {value!r}")
    elif name == "modules" and (isinstance(value, str) or not all(isinstance(each, str) for each in value)):
        raise TypeError(f"{prefix}modules must be a sequence of names of modules, not {value!r}")


CHOICES: dict[str, tuple[str, ...]] = {
    "mode": get_args(Mode),
    "thread_mode": get_args(ThreadMode),
    "engine": get_args(Engine),
    "pickler": get_args(Pickler),
    "on_worker_crash": get_args(OnWorkerCrash),
}
OPEN = tuple(field.name for field in fields(RuntimeConfig) if field.default is None)


def _read(name: str, text: str) -> object:
    """The value of one variable. Raises `ValueError` with the choices."""
    word = text.lower()
    if name in CHOICES:
        if word in CHOICES[name]:
            return word
        raise ValueError(f"one of {', '.join(CHOICES[name])}")
    if name == "max_workers":
        if word.isdecimal() and int(word) > 0:
            return int(word)
        raise ValueError("a whole number greater than 0")
    if name == "task_timeout":
        return _seconds(word)
    if name == "modules":
        return tuple(module.strip() for module in text.split(",") if module.strip())
    if word in YES:
        return True
    if word in NO:
        return False
    raise ValueError(f"one of {', '.join(YES + NO)}")


def _seconds(word: str) -> float:
    try:
        check("task_timeout", seconds := float(word))
    except ValueError:
        raise ValueError("a number of seconds greater than 0") from None
    return seconds
