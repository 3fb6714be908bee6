"""The standard library's own modules, also where `unirun.compat` has put mirrors under their names."""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType


def standard(name: str) -> ModuleType:
    """The module ``name`` itself, imported."""
    module = import_module(name)
    behind: ModuleType = vars(module).get("__standard__", module)  # A mirror knows what it mirrors.
    return behind
