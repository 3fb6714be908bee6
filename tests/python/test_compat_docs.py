"""docs/compat.md: its shell blocks run, and a recipe's first phase changes the imports alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from compat_programs import PATIENCE, environment
from test_docs import blocks, file_name

PAGE = "docs/compat.md"
SHELL = blocks(PAGE, "bash")
FILES = {name: block for block in blocks(PAGE, "python") if (name := file_name(block)) is not None}


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the page, and the interpreter as ``python``. What one block leaves, the next one finds."""
    path = tmp_path_factory.mktemp("page")
    for name, text in FILES.items():
        (path / name).write_text(text)
    python = path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return path


def test_every_shell_block_runs(directory: Path) -> None:
    assert len(SHELL) == 5
    for block in SHELL:
        done = subprocess.run(
            ["bash", "-e", "-c", block],
            cwd=directory,
            env=environment(PATH=f"{directory}/bin:{os.environ['PATH']}"),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == 0 and not done.stderr, f"{block}\nsaid:\n{done.stdout}{done.stderr}"


def test_every_block_of_python_is_a_file() -> None:
    assert len(FILES) == len(blocks(PAGE, "python"))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("orders_before.py", "orders.py"),
        ("threads_before.py", "threads_compat.py"),
        ("processes_before.py", "processes_compat.py"),
        ("asyncio_before.py", "asyncio_compat.py"),
    ],
)
def test_the_first_phase_changes_imports_alone(before: str, after: str) -> None:
    def without_imports(name: str) -> list[str]:
        lines = FILES[name].splitlines()[1:]
        return [line for line in lines if line and not line.startswith(("import ", "from "))]

    assert without_imports(before) == without_imports(after)
    assert "unirun" not in FILES[before] and "unirun.compat" in FILES[after]
