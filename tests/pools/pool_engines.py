"""The executors under test: the standard library's and ours, by flavor, where this interpreter has both."""

from __future__ import annotations

import concurrent.futures
from concurrent.futures import Executor
from importlib import import_module
from importlib.util import find_spec

ENGINES = ("standard", "native")
CLASSES = {
    "threads": "ThreadPoolExecutor",
    "processes": "ProcessPoolExecutor",
    "interpreters": "InterpreterPoolExecutor",  # Standard from 3.14 on.
}


def flavors() -> list[str]:
    """Those that both engines have."""
    both = []
    for flavor, name in CLASSES.items():
        if hasattr(concurrent.futures, name) and find_spec(f"unirun.executors.{flavor}") is not None:
            both.append(flavor)
    return both


def executor_class(engine: str, flavor: str) -> type[Executor]:
    module = {"standard": "concurrent.futures", "native": f"unirun.executors.{flavor}"}[engine]
    found = getattr(import_module(module), CLASSES[flavor])
    assert isinstance(found, type) and issubclass(found, Executor)
    return found
