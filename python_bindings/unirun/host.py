"""`Host`: a host inside this Python process, on a native thread of its own.

Supervision never waits for Python: the loop thread does not take the GIL, events are fetched
from a queue, and commands are answered into one.
Units: every ``timeout`` is in seconds (float), `None` means without end.
"""

from __future__ import annotations

import json
import os
import site
import sys
import sysconfig
import threading
import weakref
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from unirun import _core
from unirun.calls import Calls
from unirun.streams import EventStream, Queue, add_thread
from unirun.tree import Supervisor

PATIENCE_AT_EXIT = 1.0  # Seconds, for a subscriber in the middle of an event.


class Host(Calls):
    """Runs supervisors. Used by ``with``: starts them at its beginning and stops them at its end.

    Services are other processes, so `SIGINT` here is a `KeyboardInterrupt` here, and leaving the
    block stops them in order. When this process is killed, a guard process ends them all.
    """

    _started = False
    _exit_code: int | None = None
    _socket_path = ""

    def __init__(
        self,
        supervisors: Sequence[Supervisor | Mapping[str, Any]],
        *,
        name: str | None = None,
        control: bool = True,
        journal: bool = True,
        **host: Any,
    ) -> None:
        """Judge a tree; nothing is started before `start`.

        ``control`` opens the control socket, ``journal`` keeps events in a file. ``host`` takes
        the members of the configuration's ``"host"``: ``state_dir``, ``random_seed`` and so on.
        Raises `InvalidConfiguration`, with every fault in ``faults``.
        """
        members: dict[str, Any] = {
            "python": sys.executable,
            "python_path": _import_path(),
            **({"name": name} if name is not None else {}),
            **host,
        }
        trees = [tree.to_json() if isinstance(tree, Supervisor) else dict(tree) for tree in supervisors]
        document = json.dumps({"host": members, "supervisors": trees})
        self._take(_core.Host.from_json(document, os.getcwd(), control, journal))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], *, control: bool = True, journal: bool = True) -> Self:
        """Build a host from a configuration. Raises `InvalidConfiguration`."""
        host = cls.__new__(cls)
        host._take(_core.Host.from_file(os.fspath(path), control, journal))
        return host

    def _take(self, core: _core.Host) -> None:
        guard_dir = os.path.dirname(_core.__file__)
        if os.path.exists(os.path.join(guard_dir, "unirun-guard")):
            os.environ.setdefault("UNIRUN_LIBEXEC", guard_dir)
        self._core = core
        self._ended = threading.Event()
        self.events = EventStream(self._open_queue)
        """Everything that happens: subscribe to it, or iterate over it."""
        # Also when the program ends without stop(): its services must end with it.
        self._threads: list[threading.Thread] = self.events.threads
        self._finalizer = weakref.finalize(self, _close, core, self._threads)

    # ---- Its life ----

    def start(self, *, wait: bool = True) -> Self:
        """Start the trees; with ``wait``, return when all of them stand.

        Raises `StartFailed` when one could not start (the host has ended then), `SystemFailure`
        and others when a second host runs in the same place, or a directory has no rights.
        """
        self._started = True
        try:
            self._core.start(wait)
            self._socket_path = self._core.socket_path
        finally:
            # A thread waits in native code, so that wait() can be interrupted by Ctrl-C at once.
            watch = threading.Thread(
                target=_watch, args=(self._core, weakref.ref(self)), name="unirun-wait", daemon=True
            )
            add_thread(self._threads, watch)
        return self

    def wait(self, timeout: float | None = None) -> int | None:
        """Wait for the host's end. Returns its exit code, `None` when the time ran out.

        0: stopped, or every tree ended cleanly; 1: a tree gave up; 3: a tree could not start.
        """
        self._ended.wait(timeout)
        return self._exit_code

    def stop(self, *, timeout: float | None = None, cause: str = "Host.stop()") -> int | None:
        """Stop everything in order, and wait for that up to ``timeout`` seconds.

        Called again, it kills what is left. Returns the exit code, `None` when the time ran out.
        """
        if not self._started:
            return None
        if not self._ended.is_set():
            self._core.request_stop(cause)
        return self.wait(timeout)

    @property
    def exit_code(self) -> int | None:
        """As `wait` returns it; `None` while the host runs."""
        return self._exit_code

    @property
    def socket_path(self) -> str:
        """Where the command line and `connect` reach this host; empty without a control socket."""
        return self._socket_path

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.stop(cause="the end of its block" if exc_type is None else exc_type.__name__)

    # ---- Talking to it ----

    def request(self, name: str, /, **arguments: Any) -> Any:
        """Send one request; see `Calls.request`.

        `KeyboardInterrupt` ends the waiting, not what was asked for.
        """
        given = {key: value for key, value in arguments.items() if value is not None}
        return json.loads(self._core.call(name, json.dumps(given)))

    def _open_queue(self, kinds: Sequence[str], capacity: int, name: str) -> Queue:
        return self._core.open_queue(list(kinds), capacity, name)

    def __repr__(self) -> str:
        state = "not started" if not self._started else "running" if self._exit_code is None else "ended"
        return f"<unirun.Host {state}>"


def _close(core: _core.Host, threads: list[threading.Thread]) -> None:
    core.close()
    for thread in threads:  # At the program's end they must not come back from native code later.
        if thread is not threading.current_thread():
            thread.join(PATIENCE_AT_EXIT)


def _watch(core: _core.Host, host: weakref.ref[Host]) -> None:
    exit_code = core.wait()
    core.close()  # Ends the streams, behind the last event.
    if (ended := host()) is not None:
        ended._exit_code = exit_code
        ended._ended.set()


def _import_path() -> list[str]:
    """What a worker needs so that it can import what this program can.

    Not the interpreter's own directories: those it has, and a service may start other Pythons.
    """
    own = {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    own.update(site.getsitepackages())
    own.add(site.getusersitepackages())
    bases = tuple(own)
    return [os.path.abspath(place) for place in sys.path if os.path.isdir(place or ".") and not place.startswith(bases)]
