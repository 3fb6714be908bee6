"""Targets that no import finds: lambdas, bound methods, classes inside functions.

Each becomes an attribute here, and so has a name that a tree can hold. They are kept for as long
as the program runs: a service may be started again at any time.
"""

from __future__ import annotations

from itertools import count
from re import sub

_numbers = count(1)


def name_of(target: object) -> str:
    """A name by which this process, and no other, finds ``target``."""
    called = getattr(target, "__qualname__", type(target).__qualname__)
    attribute = f"{sub(r'[^0-9A-Za-z]+', '_', called).strip('_')}_{next(_numbers)}"
    globals()[f"o_{attribute}"] = target
    return f"{__name__}:o_{attribute}"
