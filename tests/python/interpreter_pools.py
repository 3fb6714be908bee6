"""Skips the tests of interpreter pools where there is no standard one to be compared with."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from typing import Any

import pytest


def import_pools(module: str = "unirun.executors.interpreters") -> Any:
    """A module of interpreter pools; for the top of a test file."""
    version = tuple(sys.version_info)
    if version[:2] < (3, 14):
        pytest.skip("needs Python 3.14: scripts/test_pythons.sh runs it there", allow_module_level=True)
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("needs a Python with a GIL: interpreters have nothing to gain here", allow_module_level=True)
    return importlib.import_module(module)
