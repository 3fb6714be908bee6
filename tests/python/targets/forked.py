"""Targets for test_template.py: each tells by status() or log what it is."""

import atexit
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

at_import = os.getpid()
atexit.register(lambda: print("at exit", os.getpid() != at_import, flush=True))


def tell(context):
    """What a worker sees of itself, as JSON on stdout; then waits."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    environ = Path("/proc/self/environ").read_text().split("\0")
    print(
        json.dumps(
            {
                "imported_here": at_import == os.getpid(),
                "random": random.random(),
                "pid": os.getpid(),
                "parent": os.getppid(),
                "group": os.getpgid(0),
                "argv": sys.argv[0].rsplit("/", 1)[-1],
                "main": sys.modules["__main__"].__name__,
                "stdin": os.readlink("/proc/self/fd/0"),
                "descriptors": sorted(os.listdir("/proc/self/fd"), key=int)[:-1],
                "blocked": int(status["SigBlk"], 16),
                "threads": int(status["Threads"]),
                "main_thread": threading.main_thread().native_id == os.getpid(),
                "env": {name: os.environ.get(name) for name in ("UNIRUN_RUN", "UNIRUN_LAUNCH", "OWN", "PLACE")},
                "hidden": [name for name in os.environ if name.startswith("UNIRUN_") and name.endswith("_FD")],
                "marks": sorted(entry for entry in environ if entry.startswith(("UNIRUN_LAUNCH=", "UNIRUN_HOST="))),
                "cwd": os.getcwd(),
            }
        ),
        flush=True,
    )
    print("to stderr", file=sys.stderr)
    context.ready()
    context.cancellation.wait()


def wait(context):
    context.ready()
    context.cancellation.wait()


def crash(context):
    context.ready()
    raise RuntimeError("on purpose")


def segfault(context):
    context.ready()
    os.kill(os.getpid(), signal.SIGSEGV)


def once(context):
    print("ran", at_import == os.getpid(), flush=True)


def forks(context):
    """Leaves one descendant in its group and one in a session of its own."""
    for outside in (False, True):
        if os.fork() == 0:
            if outside:
                os.setsid()
            time.sleep(1000)
    context.ready()
    context.cancellation.wait()


def pool(context):
    import multiprocessing

    with multiprocessing.get_context("fork").Pool(1) as workers:
        print("pool", workers.map(abs, [-3]), flush=True)
