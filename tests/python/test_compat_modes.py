"""Mirrors show the standard modules; passthrough is the standard library, object for object."""

from __future__ import annotations

import asyncio
import asyncio.tasks
import concurrent.futures
import importlib
import types
from typing import Any
from unittest import mock

import pytest

import unirun.compat
from compat_programs import ran, said
from unirun import compat
from unirun.compat import asyncio as mirrored_asyncio
from unirun.compat.concurrent import futures

OBJECT_FOR_OBJECT = """
    import asyncio, asyncio.tasks, concurrent, concurrent.futures, concurrent.futures.process, concurrent.futures.thread
    import unirun.compat.asyncio.tasks, unirun.compat.concurrent.futures.process
    import unirun.compat.concurrent.futures.thread
    from unirun import compat

    print(compat.asyncio is asyncio)
    print(compat.concurrent is concurrent)
    print(compat.concurrent.futures is concurrent.futures)
    print(compat.asyncio.tasks is asyncio.tasks)
    print(compat.concurrent.futures.thread is concurrent.futures.thread)
    print(compat.concurrent.futures.process is concurrent.futures.process)
    print(compat.ThreadPoolExecutor is concurrent.futures.ThreadPoolExecutor)
    print(compat.to_thread is asyncio.to_thread)
    print(all(each.__spec__.name == each.__name__ for each in (asyncio, concurrent, concurrent.futures)))
"""


@pytest.mark.parametrize("word", ["passthrough", "std", "stdlib", "pass", " PassThrough "])
def test_passthrough_is_the_standard_library_object_for_object(word: str) -> None:
    assert set(said(OBJECT_FOR_OBJECT, UNIRUN_COMPAT_MODE=word)) == {"True"}


def test_a_wrong_mode_is_told_where_compat_is_imported_and_counts_as_managed() -> None:
    done = ran("import unirun.compat.concurrent.futures as f; print(f.ThreadPoolExecutor.__mro__[1].__module__)",
               "-W", "always", UNIRUN_COMPAT_MODE="bogus")  # fmt: skip
    assert done.stdout.strip() == "unirun.executors.threads"
    assert done.stderr.splitlines()[0] == (
        "<string>:1: RuntimeWarning: UNIRUN_COMPAT_MODE='bogus' counts as managed:"
        " it is not one of managed, passthrough, std, stdlib, pass"
    )
    assert done.stderr.count("RuntimeWarning") == 1


def test_the_mode_is_read_once() -> None:
    source = """
        import os
        import unirun.compat
        os.environ["UNIRUN_COMPAT_MODE"] = "passthrough"
        from unirun.compat.concurrent import futures
        print(futures.ThreadPoolExecutor.__mro__[1].__module__)
    """
    assert said(source) == ["unirun.executors.threads"]


@pytest.mark.parametrize("name", ["concurrent", "concurrent.futures", "concurrent.futures.thread",
                                  "concurrent.futures.process", "asyncio"])  # fmt: skip
def test_a_mirror_shows_all_that_the_standard_module_has(name: str) -> None:
    standard, mirror = importlib.import_module(name), importlib.import_module(f"unirun.compat.{name}")
    assert dir(mirror) == dir(standard)
    assert isinstance(mirror, types.ModuleType)
    for each in ("__name__", "__doc__", "__spec__", "__file__", "__loader__", "__package__"):
        assert getattr(mirror, each) is getattr(standard, each)
    assert getattr(mirror, "__path__", None) is getattr(standard, "__path__", None)
    assert repr(mirror) == repr(standard)
    with pytest.raises(AttributeError) as ours:
        _ = mirror.nothing
    with pytest.raises(AttributeError) as theirs:
        _ = standard.nothing
    assert str(ours.value) == str(theirs.value)


def test_what_is_not_a_pool_is_the_standard_object() -> None:
    for name in ("Future", "Executor", "CancelledError", "InvalidStateError", "BrokenExecutor", "wait", "as_completed",
                 "TimeoutError", "ALL_COMPLETED"):  # fmt: skip
        assert getattr(futures, name) is getattr(concurrent.futures, name)
    for name in ("gather", "TaskGroup", "Task", "Future", "Queue", "run", "wait_for", "Runner"):
        assert getattr(mirrored_asyncio, name) is getattr(asyncio, name)


def test_submodules_are_not_loaded_twice() -> None:
    assert importlib.import_module("unirun.compat.asyncio.tasks") is asyncio.tasks
    base = importlib.import_module("unirun.compat.concurrent.futures._base")
    assert base is importlib.import_module("concurrent.futures._base")
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'asyncio\.nothing'"):
        importlib.import_module("unirun.compat.asyncio.nothing")


def test_what_is_set_on_a_mirror_is_set_on_the_standard_module_too() -> None:
    fake: Any = object()
    standard = asyncio.sleep
    with mock.patch.object(mirrored_asyncio, "sleep", fake):
        assert asyncio.sleep is fake
        assert mirrored_asyncio.sleep is fake
    assert asyncio.sleep is standard


def test_what_is_our_own_is_set_on_the_mirror_alone() -> None:
    fake: Any = object()
    standard, ours = concurrent.futures.ThreadPoolExecutor, futures.ThreadPoolExecutor
    with mock.patch.object(futures, "ThreadPoolExecutor", fake):
        assert futures.ThreadPoolExecutor is fake
        assert concurrent.futures.ThreadPoolExecutor is standard
    assert futures.ThreadPoolExecutor is ours
    thread = importlib.import_module("unirun.compat.concurrent.futures.thread")
    with mock.patch("unirun.compat.concurrent.futures.thread.ThreadPoolExecutor", fake):
        assert thread.ThreadPoolExecutor is fake
    assert thread.ThreadPoolExecutor is ours


def test_dotted_names_are_patched_through_a_mirror() -> None:
    logger = asyncio.base_events.logger  # type: ignore[attr-defined]
    with mock.patch("unirun.compat.asyncio.base_events.logger") as patched:
        assert asyncio.base_events.logger is patched  # type: ignore[attr-defined]
    assert asyncio.base_events.logger is logger  # type: ignore[attr-defined]


def test_the_package_has_the_names_of_concurrent_futures() -> None:
    assert set(concurrent.futures.__all__) <= set(dir(compat))
    assert compat.ThreadPoolExecutor is futures.ThreadPoolExecutor
    assert compat.wait is concurrent.futures.wait
    assert compat.to_thread is mirrored_asyncio.to_thread
    with pytest.raises(AttributeError, match=r"module 'unirun\.compat' has no attribute 'nothing'"):
        _ = unirun.compat.nothing


def test_a_star_import_brings_the_names_of_the_standard_module() -> None:
    for ours, theirs in (
        ("unirun.compat.concurrent.futures", "concurrent.futures"),
        ("unirun.compat.asyncio", "asyncio"),
    ):
        found: list[dict[str, Any]] = [{}, {}]
        for name, names in zip((ours, theirs), found, strict=True):
            exec(f"from {name} import *", names)
        assert found[0].keys() == found[1].keys()


def test_importing_compat_imports_no_executor() -> None:
    source = """
        import sys
        import unirun.compat
        print(sorted({"asyncio", "concurrent.futures", "unirun._pools", "dataclasses"} & set(sys.modules)))
        import unirun.compat.concurrent.futures
        print(sorted({"asyncio", "unirun._pools", "multiprocessing"} & set(sys.modules)))
    """
    assert said(source) == ["[]", "[]"]


def test_two_threads_may_import_it_at_once() -> None:
    source = """
        import threading
        found = []
        def look():
            from unirun.compat.concurrent import futures
            found.append(futures.ThreadPoolExecutor)
        threads = [threading.Thread(target=look) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(found), len(set(found)))
    """
    assert said(source) == ["8 1"]
