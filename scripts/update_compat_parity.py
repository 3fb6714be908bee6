#!/usr/bin/env python3
"""Writes down what the standard modules are that `unirun.compat` mirrors: names, signatures and defaults.

    scripts/update_compat_parity.py [INTERPRETER ...]     without any: this one, pyenv's, and those of test_pythons.sh

One entry a Python version in tests/data/compat_parity.json; versions that are not found here stay as they are.
tests/python/test_compat_parity.py holds compat against it. With ``--describe [PREFIX]`` the modules of this
interpreter, or those of that prefix, are printed as JSON.
"""

from __future__ import annotations

import glob
import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from typing import Any

MODULES = ("concurrent.futures", "concurrent.futures.process", "concurrent.futures.thread", "asyncio")
DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), os.pardir, "tests", "data", "compat_parity.json")
OLDEST = (3, 11)


def describe(prefix: str = "") -> dict[str, Any]:
    """The modules: what is exported, and the signature of whatever has one; of classes, of their methods too."""
    return {name: describe_module(importlib.import_module(prefix + name)) for name in MODULES}


def describe_module(module: Any) -> dict[str, Any]:
    signatures: dict[str, str] = {}
    names = [name for name in sorted({*dir(module), *getattr(module, "__all__", ())}) if not name.startswith("_")]
    for name in names:
        value = getattr(module, name)
        add_signature(signatures, name, value)
        if isinstance(value, type):
            for member in sorted(dir(value)):
                if not member.startswith("_"):
                    add_signature(signatures, f"{name}.{member}", inspect.getattr_static(value, member))
    return {"names": names, "all": sorted(getattr(module, "__all__", ())), "signatures": signatures}


def add_signature(signatures: dict[str, str], name: str, value: Any) -> None:
    value = getattr(value, "__func__", value)  # Of class methods and static ones.
    if not callable(value) or inspect.ismodule(value):
        return
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):  # Some of those in C have none.
        return
    signatures[name] = re.sub(r" at 0x[0-9a-f]+", "", signature)


def described(interpreter: str) -> tuple[str, dict[str, Any]]:
    """An interpreter's "3.x", and what it has to say."""
    command = [interpreter, "-I", os.path.abspath(__file__), "--describe"]
    ours = {"UNIRUN_COMPAT_INJECT": "0"}
    said = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **ours}).stdout
    found = json.loads(said)
    return ".".join(found["release"].split(".")[:2]), found


def interpreters() -> list[str]:
    pyenv = os.environ.get("PYENV_ROOT", os.path.expanduser("~/.pyenv"))
    built = os.path.join(
        os.path.dirname(DATA), os.pardir, os.pardir, "build", "pythons", "3.*", "venv", "bin", "python"
    )
    found = glob.glob(os.path.join(pyenv, "versions", "3.*", "bin", "python3"))
    return [*(path for path in found if version_of(path) >= OLDEST), *glob.glob(built), sys.executable]


def version_of(path: str) -> tuple[int, ...]:
    number = re.search(r"versions/(\d+)\.(\d+)", path)
    return tuple(int(each) for each in number.groups()) if number else ()


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--describe"]:
        release = ".".join(str(each) for each in sys.version_info[:3])
        print(json.dumps({"release": release, "modules": describe(*arguments[1:])}))
        return
    with open(DATA, encoding="utf-8") as file:
        parity = json.load(file)
    parity.update(described(each) for each in arguments or interpreters())
    with open(DATA, "w", encoding="utf-8") as file:
        json.dump(dict(sorted(parity.items())), file, indent=1)
        file.write("\n")
    told = [f"{version} ({each['release']})" for version, each in parity.items()]
    print("update_compat_parity:", ", ".join(told))


if __name__ == "__main__":
    main(sys.argv[1:])
