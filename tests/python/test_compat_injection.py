"""With UNIRUN_COMPAT_INJECT=1, or under ``python -m unirun.compat``, the standard names are the mirrors."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from compat_programs import PATIENCE, environment, ran, said

MANAGED = "unirun.executors.threads"
ENGINE = "import concurrent.futures as f; print(f.ThreadPoolExecutor.__mro__[1].__module__)"
WAYS = """
    import asyncio
    import concurrent.futures
    import concurrent.futures.thread as thread
    from concurrent import futures
    from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, process

    pools = [concurrent.futures.ThreadPoolExecutor, thread.ThreadPoolExecutor, futures.ThreadPoolExecutor,
             ThreadPoolExecutor, asyncio.base_events.concurrent.futures.ThreadPoolExecutor]
    print(len(set(pools)), pools[0].__mro__[1].__module__)
    print(ProcessPoolExecutor is process.ProcessPoolExecutor, ProcessPoolExecutor.__mro__[1].__module__)
    print(asyncio.to_thread.__globals__["__name__"])
"""
REDIRECTED = ["1 unirun.executors.threads", "True unirun.executors.processes", "unirun.compat.loops"]


@pytest.mark.parametrize("word", ["1", "true", "YES"])
def test_every_way_to_a_standard_pool_leads_to_a_managed_one(word: str) -> None:
    assert said(WAYS, UNIRUN_COMPAT_INJECT=word) == REDIRECTED


def test_an_isolated_child_is_redirected_too() -> None:
    assert said(WAYS, "-I", UNIRUN_COMPAT_INJECT="1") == REDIRECTED


def test_a_child_of_a_child_is_redirected_too() -> None:
    source = f"""
        import subprocess, sys
        subprocess.run([sys.executable, "-I", "-c", {ENGINE!r}], check=True)
    """
    assert said(source, "-E", UNIRUN_COMPAT_INJECT="1") == [MANAGED]


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_children_of_multiprocessing_are_redirected_too(method: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "import multiprocessing\n"
        "def look():\n"
        "    import concurrent.futures\n"
        "    print(concurrent.futures.ThreadPoolExecutor.__mro__[1].__module__, flush=True)\n"
        "if __name__ == '__main__':\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=look)\n"
        "    child.start()\n"
        "    child.join()\n"
    )
    assert program(str(script)).stdout.splitlines() == [MANAGED]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters with a GIL of their own")
def test_a_subinterpreter_is_redirected_too() -> None:
    module = "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    source = f"""
        import {module} as interpreters
        other = interpreters.create()
        interpreters.run_string(other, {ENGINE!r})
        interpreters.destroy(other)
    """
    assert said(source, UNIRUN_COMPAT_INJECT="1") == [MANAGED]


@pytest.mark.parametrize("variables", [
    {}, {"UNIRUN_COMPAT_INJECT": "0"}, {"UNIRUN_COMPAT_INJECT": ""},
    {"UNIRUN_COMPAT_INJECT": "1", "UNIRUN_COMPAT_MODE": "passthrough"},
])  # fmt: skip
def test_without_it_the_standard_names_are_the_standard_modules(variables: dict[str, str]) -> None:
    source = """
        import concurrent.futures, asyncio
        print(type(concurrent.futures).__name__, type(asyncio).__name__)
        print(concurrent.futures.ThreadPoolExecutor.__mro__[1].__name__)
    """
    assert said(source, **variables) == ["module module", "Executor"]


def test_without_the_variable_nothing_of_unirun_is_imported() -> None:
    assert said("import sys; print([name for name in sys.modules if name.startswith('unirun')])") == ["[]"]


def test_a_word_that_is_neither_yes_nor_no_is_told_and_means_no() -> None:
    done = ran(ENGINE, UNIRUN_COMPAT_INJECT="perhaps")
    assert done.stdout.strip() == "concurrent.futures._base"
    assert "UNIRUN_COMPAT_INJECT='perhaps' counts as not set: it is not one of 1, true" in done.stderr


def test_injection_imports_nothing_that_the_program_does_not_ask_for() -> None:
    source = """
        import sys
        print(sorted({"asyncio", "concurrent.futures", "unirun._pools", "multiprocessing"} & set(sys.modules)))
        import concurrent.futures
        print(sorted({"asyncio", "unirun._pools", "multiprocessing"} & set(sys.modules)))
    """
    assert said(source, UNIRUN_COMPAT_INJECT="1") == ["[]", "[]"]


def test_it_may_come_after_the_modules() -> None:
    source = """
        import asyncio
        import concurrent.futures
        from unirun.compat import _mirror

        _mirror.inject()
        import concurrent.futures as later
        from concurrent.futures import thread
        print(concurrent.futures is later, later.ThreadPoolExecutor.__mro__[1].__module__)
        print(thread.ThreadPoolExecutor is later.ThreadPoolExecutor)
    """
    assert said(source) == [f"True {MANAGED}", "True"]


def test_a_mirror_can_be_reloaded() -> None:
    source = """
        import concurrent.futures, importlib
        again = importlib.reload(concurrent.futures)
        print(again is concurrent.futures, again.ThreadPoolExecutor.__mro__[1].__module__)
    """
    assert said(source, UNIRUN_COMPAT_INJECT="1") == [f"True {MANAGED}"]


def test_modules_under_their_standard_names_can_be_run() -> None:
    done = ran("", "-m", "asyncio", "--help", UNIRUN_COMPAT_INJECT="1")
    assert "Error" not in done.stderr


@pytest.mark.skipif(sys.version_info < (3, 14), reason="the standard library's own pool of interpreters")
def test_the_standard_pool_of_interpreters_stays_on_the_standard_pool_of_threads() -> None:
    source = """
        from concurrent.futures import InterpreterPoolExecutor, ThreadPoolExecutor
        print([each.__module__ for each in InterpreterPoolExecutor.__mro__[1:3]])
        with InterpreterPoolExecutor(1) as pool:
            print(isinstance(pool, ThreadPoolExecutor), pool.submit(int, "3").result())
    """
    assert said(source, UNIRUN_COMPAT_INJECT="1") == [
        "['concurrent.futures.thread', 'concurrent.futures._base']",
        "True 3",
    ]


# ---- python -m unirun.compat ----

PROGRAM = """
import concurrent.futures, os, sys
print(concurrent.futures.ThreadPoolExecutor.__mro__[1].__module__)
print(__name__, sys.argv, sys.modules["__main__"].__dict__ is globals(), os.environ["UNIRUN_COMPAT_INJECT"])
"""


def program(*arguments: str, directory: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "unirun.compat", *arguments],
        cwd=directory,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def test_a_script_runs_on_our_engines(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(PROGRAM + "import beside\nprint(__file__, sys.path[0])\n")
    (tmp_path / "beside.py").touch()
    done = program("script.py", "a", "-b", directory=tmp_path)
    assert done.stdout.splitlines() == [
        MANAGED, "__main__ ['script.py', 'a', '-b'] True 1", f"script.py {tmp_path}",
    ], done.stderr  # fmt: skip


def test_a_module_a_command_and_an_archive_run_on_our_engines(tmp_path: Path) -> None:
    (tmp_path / "module.py").write_text(PROGRAM)
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    module = program("-m", "module", "a", directory=tmp_path)
    assert module.stdout.splitlines() == [MANAGED, f"__main__ ['{tmp_path}/module.py', 'a'] True 1"], module.stderr
    command = program("-c", PROGRAM, "a")
    assert command.stdout.splitlines() == [MANAGED, "__main__ ['-c', 'a'] True 1"], command.stderr
    packed = program("archive.zip", directory=tmp_path)
    assert packed.stdout.splitlines() == [MANAGED, "__main__ ['archive.zip'] True 1"], packed.stderr


def test_the_program_ends_as_it_ends(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("raise SystemExit(7)")
    assert program("script.py", directory=tmp_path).returncode == 7
    (tmp_path / "script.py").write_text("def f():\n    1 / 0\nf()\n")
    failed = program("script.py", directory=tmp_path)
    assert failed.returncode == 1
    assert 'File "script.py", line 2, in f\n' in failed.stderr and "ZeroDivisionError" in failed.stderr


def test_tasks_that_are_left_are_done_before_the_program_ends(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import time\n"
        "from concurrent.futures import ThreadPoolExecutor\n"
        "def work(seconds):\n"
        "    time.sleep(seconds)\n"
        "    print('done', __name__)\n"
        "ThreadPoolExecutor().submit(work, 0.2)\n"
    )
    done = program("script.py", directory=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "done __main__\n", "")


@pytest.mark.parametrize("arguments", [(), ("-m",), ("-c",)])
def test_without_a_program_there_is_a_usage(arguments: tuple[str, ...]) -> None:
    done = program(*arguments)
    assert done.returncode == 2 and done.stderr.startswith("usage: python -m unirun.compat")


def test_what_cannot_be_run_is_told() -> None:
    missing = program("nothing.py")
    assert missing.returncode == 1 and "can't open file 'nothing.py': No such file or directory" in missing.stderr
    option = program("-X", "dev")
    assert option.returncode == 1 and "-X is no option; options of the interpreter go before -m" in option.stderr
