"""InterpreterPoolExecutor where Python is too old for it, or has no GIL."""

from __future__ import annotations

import importlib
import sys
import sysconfig
from typing import Any

import pytest

from unirun.executors import interpreters

VERSION = tuple(sys.version_info)[:2]
FREE_THREADED = bool(sysconfig.get_config_var("Py_GIL_DISABLED"))


def find_pool() -> Any:
    return importlib.import_module("unirun.executors.interpreters").InterpreterPoolExecutor


def test_the_module_has_nothing_else() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = getattr(interpreters, "no_such_name")  # noqa: B009  Any name, as a user types it.


if VERSION < (3, 12):

    def test_the_name_says_what_is_needed() -> None:
        with pytest.raises(ImportError, match=r"needs Python 3\.14, or 3\.12 by consent: this is 3\.11"):
            find_pool()

elif FREE_THREADED:

    def test_without_a_gil_threads_are_pointed_to() -> None:
        with pytest.raises(ImportError, match="free-threaded, where interpreters have nothing to gain; use a thread"):
            find_pool()

elif VERSION < (3, 14):

    def test_below_314_it_takes_consent() -> None:
        with pytest.raises(RuntimeError, match=r"may corrupt the memory.* use Python 3\.14, or accept it with allow"):
            find_pool()()

    def test_with_consent_calls_are_made() -> None:
        with find_pool()(1, allow_unsafe=True) as pool:
            assert pool.submit(pow, 2, 5).result(30) == 32
            assert pool.submit(sorted, [2, 1]).result(30) == [1, 2]
            assert isinstance(pool.submit(int, "x").exception(30), ValueError)
            with pytest.raises(TypeError, match=r"<lambda>.* cannot be carried to another interpreter"):
                pool.submit(lambda: 0).result(30)
            with pytest.raises(TypeError, match="functions and classes of modules that it can import"):
                pool.submit("x".upper).result(30)
