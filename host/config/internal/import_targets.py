"""Imports targets as services would, and says of each what went wrong.

Read from stdin: a JSON list of ``{"target", "cwd", "env", "on_loop", "host"}``. Written to stdout: a JSON list of
strings, one for each target, empty where all is well. Each target is tried in a fork, so that none sees what another
one did to the interpreter, and one that ends it is just another fault.
"""

import importlib
import importlib.util
import json
import os
import signal
import sys


def load(module_name):
    if not module_name.endswith(".py"):
        return importlib.import_module(module_name)
    spec = importlib.util.spec_from_file_location("__unirun_target__", module_name)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def fault_of(entry):
    os.environ.update(entry["env"])
    search = [entry["cwd"] or os.getcwd(), *filter(None, entry["env"].get("PYTHONPATH", "").split(":"))]
    sys.path[0:1] = search
    if entry["cwd"]:
        os.chdir(entry["cwd"])
    if importlib.util.find_spec("unirun") is None:
        return "it has no package unirun; install it there, or name its directory in host.python_path"
    if entry["host"] and (fault := version_fault(entry["host"])):
        return fault
    module_name, _, attribute = entry["target"].rpartition(":")
    found = load(module_name)
    for name in attribute.split("."):
        found = getattr(found, name)
    if not callable(found):
        return f"it is of type {type(found).__name__}; expected something that can be called"
    return style_fault(found, entry["target"]) if entry["on_loop"] else ""


def version_fault(wanted):
    """Why this interpreter cannot carry a host of that version, which its services live in."""
    try:
        from unirun._core import __version__ as found
    except ImportError as error:
        return f"its package unirun has no native module for this Python ({error}); install unirun {wanted} there"
    return "" if found == wanted else f"its unirun is {found}, and the host is {wanted}; install the same there"


def style_fault(found, target):
    """What the worker would say of a target that is to run on an event loop."""
    from unirun import _target

    try:
        _target.check(found, target, on_loop=True)
    except ImportError as error:
        return str(error).removeprefix(f"target {target!r}: ")
    return ""


def told_by_fork(entry):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            fault = fault_of(entry)
        except BaseException as error:
            fault = f"{type(error).__name__}: {error}"
        os.write(writing, b"." + fault.encode(errors="replace")[:4000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        told = stream.read().decode(errors="replace")
    status = os.waitpid(child, 0)[1]
    if told:
        return told[1:]
    if os.WIFSIGNALED(status):
        return f"the import was ended by {signal.Signals(os.WTERMSIG(status)).name}"
    return "the import ended the interpreter"


def main():
    entries = json.load(sys.stdin)
    answer = os.dup(1)
    silence = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silence, descriptor)
    with os.fdopen(answer, "w") as stream:
        json.dump([told_by_fork(entry) for entry in entries], stream)


main()
