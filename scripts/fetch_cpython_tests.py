"""Brings CPython's own `test` package for an interpreter into an ignored folder; prints the folder, for `sys.path`.

usage: fetch_cpython_tests.py INTERPRETER [NEIGHBOUR ...]

The folder is .cache/cpython-tests/VERSION/, made once for an exact version; SOURCES in it says whence each part came:
from the interpreter itself; else from Debian's libpythonX.Y-testsuite of that very version; else, for a suite that an
installation left out (`make install` of 3.11.7 and 3.12.1 forgets test_concurrent_futures), from the nearest of the
neighbours, an older one first, for newer tests need a newer `test.support`; they serve to compare two runs on this
interpreter. What cannot be had is an error.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache/cpython-tests"
SUITES = ("test_asyncio", "test_concurrent_futures")
DEBIAN = {"3.11": "bookworm", "3.13": "trixie", "3.14": "forky"}
ASK = "import json, sys, sysconfig; print(json.dumps([sys.version.split()[0], sysconfig.get_path('stdlib')]))"


class Interpreter(NamedTuple):
    path: str
    version: str
    """As it says it: 3.14.8, or 3.15.0a2."""
    tests: Path

    @property
    def series(self) -> str:
        return ".".join(self.version.split(".")[:2])


def interpreter(path: str) -> Interpreter:
    asked = subprocess.run([path, "-c", ASK], capture_output=True, text=True, check=True)
    version, library = json.loads(asked.stdout)
    return Interpreter(path, version, Path(library) / "test")


def has(tests: Path, suite: str) -> bool:
    return (tests / f"{suite}.py").exists() or (tests / suite / "__init__.py").exists()


def from_debian(python: Interpreter, folder: Path) -> Path | None:
    """Its `test` from Debian, if Debian has this very version."""
    release = DEBIAN.get(python.series)
    if release is None:
        return None
    package = f"libpython{python.series}-testsuite"
    fetched = subprocess.run(
        [ROOT / "scripts/from_debian.sh", release, folder, package], stdout=sys.stderr, stderr=sys.stderr
    )
    notes = folder / f"usr/share/doc/{package}/changelog.Debian.gz"
    if fetched.returncode != 0 or not notes.exists():
        return None
    import gzip

    head = (
        gzip.decompress(notes.read_bytes()).split(b"\n", 1)[0].decode()
    )  # python3.11 (3.11.2-6+deb12u6) bookworm; ...
    if head.split("(")[1].split("-")[0] != python.version:
        print(f"fetch_cpython_tests: Debian has {head.split(';')[0]}, not {python.version}", file=sys.stderr)
        return None
    return folder / f"usr/lib/python{python.series}/test"


def copy(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)


def copy_suite(source: Path, target: Path, suite: str) -> None:
    if (source / suite).is_dir():
        copy(source / suite, target / suite)
    else:  # Up to 3.11.
        shutil.copy2(source / f"{suite}.py", target)


def distance(python: Interpreter, other: Interpreter) -> tuple[bool, int]:
    """Older ones first, the nearest first."""
    minors = [int(each.series.split(".")[1]) for each in (python, other)]
    return minors[1] > minors[0], abs(minors[1] - minors[0])


def fetch(python: Interpreter, neighbours: list[Interpreter]) -> Path:
    """Return the folder that holds `test`, made if it is not there."""
    folder = CACHE / python.version
    if (folder / "SOURCES").exists():
        return folder
    half_made = CACHE / f"{python.version}.{python.series}.part"
    shutil.rmtree(half_made, ignore_errors=True)
    tests, sources = half_made / "test", {}
    tests.mkdir(parents=True)
    if has(python.tests, "test_asyncio"):
        copy(python.tests, tests)
        sources = {suite: f"{python.version}, from the interpreter" for suite in SUITES if has(tests, suite)}
    if len(sources) < len(SUITES) and (debian := from_debian(python, half_made / "debian")) is not None:
        copy(debian, tests)
        sources = dict.fromkeys(SUITES, f"{python.version}, from Debian")
    shutil.rmtree(half_made / "debian", ignore_errors=True)
    for suite in SUITES if sources else ():
        for other in sorted(neighbours, key=lambda other: distance(python, other)):
            if suite not in sources and has(other.tests, suite):
                copy_suite(other.tests, tests, suite)
                sources[suite] = f"{other.version}"
    if missing := [suite for suite in SUITES if suite not in sources]:
        also = f"; Debian: apt-get install libpython{python.series}-testsuite" if python.series in DEBIAN else ""
        raise SystemExit(
            f"fetch_cpython_tests: {', '.join(missing)} of {python.version} is not to be had: neither the interpreter"
            f" nor Debian has it. Right would be CPython's Lib/test of that version there ({python.tests}{also})."
        )
    (half_made / "SOURCES").write_text("".join(f"{suite}: {whence}\n" for suite, whence in sources.items()))
    shutil.rmtree(folder, ignore_errors=True)
    half_made.rename(folder)
    return folder


def main() -> None:
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    wanted, *neighbours = [interpreter(path) for path in sys.argv[1:]]
    print(fetch(wanted, neighbours))


if __name__ == "__main__":
    main()
