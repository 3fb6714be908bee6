"""What `pip` installs: the wheel, built as pyproject.toml has it, in an environment that knows nothing of this tree.

`make wheel-check` runs it. With UNIRUN_WHEEL=FILE it examines that wheel and builds none.
"""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from textwrap import dedent

import pytest

from compat_programs import PATIENCE
from test_compat_injection import ENGINE, MANAGED, REDIRECTED, WAYS

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python_bindings/unirun"
BUILD_TIME = 3000.0
pytestmark = pytest.mark.timeout(BUILD_TIME)


def ran(
    *command: str | Path, cwd: Path, timeout: float = PATIENCE, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run it well, with nothing in the environment that leads to this tree."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("UNIRUN", "PYTHON"))}
    done = subprocess.run(
        command, cwd=cwd, env=own | variables, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built once, with the flags that are compiled soonest."""
    if given := os.environ.get("UNIRUN_WHEEL"):
        return Path(given).resolve()
    folder = tmp_path_factory.mktemp("wheel")
    settings = ["cmake.build-type=Debug", "cmake.define.CMAKE_CXX_FLAGS_DEBUG=-O0", "cmake.define.CMAKE_UNITY_BUILD=ON"]
    settings += ["cmake.define.CMAKE_UNITY_BUILD_BATCH_SIZE=8", "cmake.define.CMAKE_CXX_COMPILER_LAUNCHER=ccache"]
    settings += ["build-dir=build/wheel-of-tests/{wheel_tag}"]
    options = [f"--config-settings={setting}" for setting in settings]
    build: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-build-isolation",
        "--no-deps",
        "-w",
        folder,
        *options,
        ROOT,
    ]
    ran(*build, cwd=folder, timeout=BUILD_TIME, CCACHE_BASEDIR=str(ROOT))
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment in which the wheel is, and nothing else."""
    home = tmp_path_factory.mktemp("environment")
    ran(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    install: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        home / "bin/python",
        "install",
        "--no-deps",
        "--no-index",
    ]
    ran(*install, wheel, cwd=home)
    return home / "bin/python"


def test_the_wheel_has_the_whole_package_and_the_file_that_site_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("unirun-compat.pth") == (ROOT / "python_bindings/unirun-compat.pth").read_bytes()
    ours = {
        f"unirun/{file.relative_to(PACKAGE)}" for kind in ("*.py", "*.pyi", "py.typed") for file in PACKAGE.rglob(kind)
    }
    assert ours <= names and "unirun/py.typed" in names and "unirun/unirun-guard" in names
    modules = {name.partition(".")[0] for name in names if name.endswith(".so")}
    assert {"unirun/_core", "unirun/_forking", "unirun/_pools"} <= modules


@pytest.mark.parametrize("options", [[], ["-I"], ["-E", "-s"]], ids=" ".join)
def test_an_installed_unirun_injects_compat_where_the_environment_says_so(
    python: Path, options: list[str], tmp_path: Path
) -> None:
    done = ran(python, *options, "-c", dedent(WAYS), cwd=tmp_path, UNIRUN_COMPAT_INJECT="1")
    assert done.stdout.splitlines() == REDIRECTED
    assert not done.stderr
    plain = ran(python, *options, "-c", ENGINE, cwd=tmp_path)
    assert plain.stdout.split() == ["concurrent.futures._base"]


CHILDREN = f"""
import multiprocessing
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor

def look():
    import concurrent.futures
    return concurrent.futures.ThreadPoolExecutor.__mro__[1].__module__

def tell():
    print(look(), flush=True)

if __name__ == "__main__":
    for method in ("fork", "forkserver", "spawn"):
        context = multiprocessing.get_context(method)
        child = context.Process(target=tell)
        child.start()
        child.join()
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            print(pool.submit(look).result(), flush=True)
    for options in ([], ["-I"]):
        subprocess.run([sys.executable, *options, "-c", {ENGINE!r}], check=True)
"""


@pytest.mark.parametrize("how", [["-m", "unirun.compat"], []], ids=["-m unirun.compat", "UNIRUN_COMPAT_INJECT"])
def test_children_of_a_program_have_compat_too(python: Path, how: list[str], tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(CHILDREN)
    done = ran(python, *how, script, cwd=tmp_path, UNIRUN_COMPAT_INJECT="" if how else "1")
    assert done.stdout.splitlines() == [MANAGED] * 8
    assert not done.stderr


def test_the_program_beside_it_runs(python: Path, tmp_path: Path) -> None:
    version = ran(python, "-c", "import unirun; print(unirun.__version__)", cwd=tmp_path).stdout.strip()
    assert version in ran(python.parent / "unirun", "version", cwd=tmp_path).stdout


def test_a_checker_of_types_finds_the_stubs(python: Path, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        "from unirun.compat import ThreadPoolExecutor, asyncio\n"
        "from unirun.compat.concurrent import futures\n"
        "pool: futures.ThreadPoolExecutor = ThreadPoolExecutor(1)\n"
        "length: int = pool.submit(len, 'four').result()\n"
        "reveal_type(asyncio.run(asyncio.to_thread(len, 'four')))\n"
    )
    check: list[str | Path] = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--python-executable",
        python,
        "--cache-dir",
        tmp_path / "cache",
    ]
    assert 'Revealed type is "int"' in ran(*check, script, cwd=tmp_path).stdout.replace("builtins.int", "int")
