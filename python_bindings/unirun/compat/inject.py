"""Puts the mirrors under the standard names: for a whole program that is not to be changed at all.

``UNIRUN_COMPAT_INJECT=1`` does it in every Python that has unirun installed, before the program starts: an
installation has ``unirun-compat.pth``, which site runs, in children started with ``-I`` and in subinterpreters too.
Not with ``-S``. ``python -m unirun.compat`` sets the variable and does the same for one program.
"""

from __future__ import annotations

import os

from unirun.compat import _mirror

VARIABLE = "UNIRUN_COMPAT_INJECT"
YES = ("1", "true", "yes", "on")
NO = ("", "0", "false", "no", "off")


def from_environment() -> None:
    """Inject if the environment says so; a word that is neither yes nor no is told, and means no."""
    text = os.environ.get(VARIABLE, "").strip().lower()
    if text in YES:
        _mirror.inject()
    elif text not in NO:
        from unirun._warn import warn_caller

        warn_caller(f"{VARIABLE}={text!r} counts as not set: it is not one of {', '.join(YES + NO[1:])}")
