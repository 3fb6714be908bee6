"""``python -m unirun.compat SCRIPT [ARGUMENT ...]``, ``-m MODULE`` or ``-c COMMAND``: run it on unirun's engines.

The program finds mirrors under the standard names, and so do the Pythons that it starts.
"""

from __future__ import annotations

import os
import runpy
import sys
from types import ModuleType

from unirun.compat import _mirror, inject

USAGE = "usage: python -m unirun.compat (SCRIPT | -m MODULE | -c COMMAND) [ARGUMENT ...]"


def main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help") or (arguments[0] in ("-m", "-c") and len(arguments) == 1):
        print(USAGE, file=sys.stdout if arguments[:1] in (["-h"], ["--help"]) else sys.stderr)
        raise SystemExit(0 if arguments[:1] in (["-h"], ["--help"]) else 2)
    os.environ[inject.VARIABLE] = "1"
    _mirror.inject()
    how, *rest = arguments
    if how == "-m":
        sys.argv[:] = rest  # runpy puts the file's name in front.
        runpy._run_module_as_main(rest[0])  # type: ignore[attr-defined]
    elif how == "-c":
        sys.argv[:] = ["-c", *rest[1:]]
        _run(compile(rest[0], "<string>", "exec"), {})
    elif how.startswith("-"):
        raise SystemExit(f"unirun.compat: {how} is no option; options of the interpreter go before -m\n{USAGE}")
    else:
        sys.argv[:] = arguments
        _run_script(how)


def _run_script(path: str) -> None:
    if os.path.isdir(path) or path.endswith((".zip", ".pyz")):  # With a __main__.py in it.
        runpy.run_path(path, run_name="__main__")
        return
    try:
        with open(path, "rb") as file:
            source = file.read()
    except OSError as error:
        raise SystemExit(f"{sys.executable}: can't open file {path!r}: {error.strerror}") from None
    if not sys.flags.safe_path:
        sys.path[0] = os.path.dirname(os.path.realpath(path))
    _run(compile(source, path, "exec"), {"__file__": path, "__cached__": None})


def _run(code: object, names: dict[str, object]) -> None:
    """Run ``code`` as the main module, which stays that: threads and exit hooks may outlive it."""
    module = sys.modules["__main__"] = ModuleType("__main__")
    vars(module).update(names, __builtins__=__builtins__)
    exec(code, vars(module))  # type: ignore[arg-type]


if __name__ == "__main__":
    main(sys.argv[1:])
