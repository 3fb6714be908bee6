"""compat has every public name of the running interpreter's modules, with the same signatures and defaults.

tests/data/compat_parity.json says what they were when it was written (scripts/update_compat_parity.py); each
interpreter of scripts/test_pythons.sh that is built here is asked too.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest

from compat_programs import PATIENCE, environment

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "scripts" / "update_compat_parity.py"
MODULES = ("asyncio", "concurrent.futures", "concurrent.futures.process", "concurrent.futures.thread")
VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def interpreters() -> list[str]:
    """This one, and those of scripts/test_pythons.sh that are built from what is here."""
    homes = [
        path.parents[4] for path in ROOT.glob("build/pythons/3.*/venv/lib/python3*/site-packages/unirun-compat.pth")
    ]
    return [sys.executable, *(str(home / "venv/bin/python") for home in sorted(homes) if is_up_to_date(home / "build"))]


def is_up_to_date(build: Path) -> bool:
    package = ROOT / "python_bindings" / "unirun"
    files = [path.relative_to(package) for path in package.rglob("*.py")]
    sources = [path.stat().st_mtime for path in (ROOT / "python_bindings" / "pools").iterdir()]
    module = next((build / "python" / "unirun").glob("_pools.*.so"), None)
    return (
        module is not None
        and module.stat().st_mtime >= max(sources)
        and all((build / "python" / "unirun" / file).exists() for file in files)
    )


@lru_cache
def described(interpreter: str, prefix: str = "", **variables: str) -> dict[str, Any]:
    done = subprocess.run(
        [interpreter, SCRIPT, "--describe", *([prefix] if prefix else [])],
        env=environment(**variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@lru_cache
def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "tests/data/compat_parity.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(params=interpreters(), ids=lambda path: Path(path).parents[2].name)
def interpreter(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["imported", "injected", "passthrough"])
def compat(request: pytest.FixtureRequest, interpreter: str) -> dict[str, Any]:
    if request.param == "injected":
        return described(interpreter, UNIRUN_COMPAT_INJECT="1")
    mode = "managed" if request.param == "imported" else "passthrough"
    return described(interpreter, "unirun.compat.", UNIRUN_COMPAT_MODE=mode)


def test_every_version_from_the_oldest_on_is_recorded() -> None:
    assert set(VERSIONS) <= set(recorded())
    for version in VERSIONS:
        modules = recorded()[version]["modules"]
        assert set(modules) == set(MODULES)
        assert "ThreadPoolExecutor" in modules["concurrent.futures"]["signatures"]


def test_what_is_recorded_is_what_this_release_has(interpreter: str) -> None:
    standard = described(interpreter)
    record = recorded()[".".join(standard["release"].split(".")[:2])]
    if record["release"] == standard["release"]:  # Another release of the same version may have other names.
        assert record == standard, f"say: scripts/update_compat_parity.py {interpreter}"


@pytest.mark.parametrize("module", MODULES)
def test_compat_has_the_names_of_the_standard_module(module: str, compat: dict[str, Any], interpreter: str) -> None:
    standard = described(interpreter)["modules"][module]
    assert compat["modules"][module]["names"] == standard["names"]
    assert compat["modules"][module]["all"] == standard["all"]


@pytest.mark.parametrize("module", MODULES)
def test_compat_has_the_signatures_and_defaults_of_the_standard_module(
    module: str, compat: dict[str, Any], interpreter: str
) -> None:
    standard = described(interpreter)["modules"][module]["signatures"]
    ours = compat["modules"][module]["signatures"]  # Pools have methods more.
    assert {name: ours.get(name) for name in standard} == standard
