"""The template process: a worker that has done its imports and forks others instead of working.

`unirun.worker` becomes one when the host says so (``UNIRUN_TEMPLATE_FD``). It has one thread, reads
one order after the other, and forks a child of the *host* for each (python_bindings/forking/).
What a fork passes on is what the imports made: modules, open descriptors, `atexit` handlers; what
must differ from worker to worker is made anew here.
"""

from __future__ import annotations

import gc
import os
import sys
from json import dumps, loads

from unirun import _target
from unirun._channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any, NoReturn, Protocol

    class Worker(Protocol):
        """What a fork becomes."""

        def set_up(self) -> None: ...
        def rehearse(self) -> None: ...
        def say_waiting(self) -> None: ...
        def run(self) -> int: ...


MAX_TEXT_CHARACTERS = 16 << 10  # Of a packet to the host: the beginning is kept.


class Unable(Exception):
    """This process cannot be a template; workers are to start fresh."""

    def __init__(self, text: str, *, for_good: bool) -> None:
        super().__init__(text)
        self.for_good = for_good


def serve(channel: int, board: int | None, make_worker: Callable[[Channel, int], Worker]) -> int:
    """Fork workers until the host is gone. Returns in a worker, with its exit code."""
    try:
        from unirun import _forking
    except ImportError as error:
        text = f"unirun's native half was not built for {sys.executable}: {error}"
        os.write(channel, dumps({"type": "unable", "text": text, "for_good": True}).encode())
        os._exit(0)
    template = _Template(_forking, channel)
    template.prepare(board)
    places = _Places()
    worker = make_worker(Channel(places.control), places.faults)
    worker.set_up()
    return _work(_forking, template.fork_workers(places), worker)


class _Places:
    """The numbers under which every worker has its own; in the template nothing is there."""

    def __init__(self) -> None:
        self.control = os.open(os.devnull, os.O_RDWR)
        self.faults = os.open(os.devnull, os.O_RDWR)

    def of(self, order: dict[str, Any]) -> list[int]:
        """Where the descriptors of ``order`` go; stdout and stderr keep their numbers."""
        named: dict[int, int] = {int(order["control"]): self.control, int(order["faults"]): self.faults}
        return [named.get(target, target) for target in map(int, order["targets"])]


class _Template:
    """Everything up to the fork."""

    def __init__(self, forking: Any, channel: int) -> None:
        self._forking = forking
        self._channel = channel
        self._watch = -1
        self._files: dict[str, tuple[int, int, int]] = {}

    def prepare(self, board: int | None) -> None:
        """Import."""
        os.set_inheritable(self._channel, False)
        try:
            if not self._forking.find_marks():
                raise Unable("the host's marks are not in its environment", for_good=True)
            if board is not None:
                self._forking.map_board(board)
                os.close(board)
            plan, _ = self._receive()
            self._import(plan)
            self._watch_files()
        except Unable as error:
            self._send({"type": "unable", "text": str(error), "for_good": error.for_good})
            self._leave()

    def fork_workers(self, places: _Places) -> dict[str, Any]:
        """Fork one after the other. Returns in a worker only, with the order that it fulfils."""
        gc.collect()
        gc.freeze()  # What a collection touches, it copies.
        self._send({"type": "ready"})
        while True:
            order, descriptors = self._receive()
            self._leave_if_changed()
            if self._fork(order, descriptors, places.of(order)):
                return order

    def _fork(self, order: dict[str, Any], descriptors: list[int], places: list[int]) -> bool:
        """Fork one worker. True in the worker."""
        _flush()
        own = [self._channel] if self._watch < 0 else [self._channel, self._watch]
        try:
            pid, pidfd = self._forking.fork(order["launch"], order["run"], descriptors, places, own)
        except OSError as error:
            self._send({"type": "refused", "id": order["id"], "text": f"fork: {error.strerror}"})
        else:
            if pid == 0:
                return True
            self._send({"type": "forked", "id": order["id"], "pid": pid}, pidfd)
            os.close(pidfd)
        for descriptor in descriptors:
            os.close(descriptor)
        return False

    # ---- Imports ----

    def _import(self, plan: dict[str, Any]) -> None:
        from importlib import import_module

        before = _open_descriptors()
        steps: list[tuple[str, Callable[[], object]]] = [
            (name, lambda name=name: import_module(name))  # type: ignore[misc]
            for name in plan["modules"]
        ]
        if target := plan["target"]:
            steps.append((target.rpartition(":")[0], lambda: _target.preload(target)))
        for name, step in steps:
            try:
                step()
            except BaseException as error:
                from unirun._failure import describe

                what = describe(error)
                raise Unable(
                    f"the preload of {name!r} failed: {what['type']}: {what['message']}\n{what['traceback']}",
                    for_good=False,
                ) from None
            if len(os.listdir("/proc/self/task")) > 1:
                raise Unable(
                    f"the import of {name!r} has started threads ({', '.join(_threads())}), which no fork takes "
                    'along; start them when the service runs, or say "start": "fresh"',
                    for_good=True,
                )
        if left := sorted(_open_descriptors() - before):
            text = ", ".join(f"{number} ({name})" for number, name in left)
            self._send(
                {
                    "type": "warning",
                    "text": f"the imports of {', '.join(name for name, _ in steps)} have left descriptors open, "
                    f"which all workers share: {text}",
                }
            )

    # ---- Files that change ----

    def _watch_files(self) -> None:
        for module in list(sys.modules.values()):
            path = getattr(module, "__file__", None)
            if isinstance(path, str) and path not in self._files and (state := _state_of(path)):
                self._files[path] = state
        try:
            self._watch = self._forking.watch_files(list(self._files))
        except OSError:
            self._watch = -1  # No watches left for this user: then each order looks at all files.

    def _leave_if_changed(self) -> None:
        if self._watch >= 0:
            try:
                os.read(self._watch, 1 << 16)
            except BlockingIOError:
                return
        changed = [path for path, state in self._files.items() if _state_of(path) != state]
        if changed:
            self._send({"type": "changed", "files": changed[:10]})
            self._leave()

    # ---- The host ----

    def _receive(self) -> tuple[dict[str, Any], list[int]]:
        text, descriptors = self._forking.receive(self._channel)
        if not text:
            self._leave()
        return loads(text), descriptors

    def _send(self, message: dict[str, Any], descriptor: int = -1) -> None:
        if "text" in message:
            message["text"] = message["text"][:MAX_TEXT_CHARACTERS]
        try:
            self._forking.send(self._channel, dumps(message).encode(), descriptor)
        except OSError:
            self._leave()

    @staticmethod
    def _leave() -> NoReturn:
        """End without `atexit`: what imports have registered there is the workers' affair."""
        _flush()
        os._exit(0)


# ---- In the worker ----


def _work(forking: Any, order: dict[str, Any], worker: Worker) -> int:
    for name, value in order["environment"].items():  # update() touches twice as many pages.
        os.environ[name] = value
    os.environ["UNIRUN_LAUNCH"] = order["launch"]
    os.environ["UNIRUN_RUN"] = order["run"]
    _reseed()
    target, place = order["standby_for"], order["place"]
    if target:
        try:
            _target.load(target)
        except BaseException:
            return 1  # A worker that is not in reserve will say why.
    if target or place is not None:
        worker.rehearse()
        if place is not None:
            forking.hold(place)
        worker.say_waiting()
    return worker.run()


def _reseed() -> None:
    """What knows no `os.register_at_fork`, or not all of it: chance, and who one is."""
    if threading := sys.modules.get("threading"):
        threading.current_thread()._set_native_id()
    if numpy_random := sys.modules.get("numpy.random"):
        numpy_random.seed()
    if process := sys.modules.get("multiprocessing.process"):
        from itertools import count

        process._current_process = type(process._current_process)()  # type: ignore[attr-defined]
        process._process_counter = count(1)  # type: ignore[attr-defined]
        process._children = set()  # type: ignore[attr-defined]


# ---- Helpers ----


def _flush() -> None:
    """What is buffered would be printed by every worker once more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            continue


def _state_of(path: str) -> tuple[int, int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _open_descriptors() -> set[tuple[int, str]]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if not target.startswith("/dev/"):
            found.add((int(name), target))
    return found


def _threads() -> Iterable[str]:
    threading = sys.modules.get("threading")
    names = {} if threading is None else {thread.native_id: thread.name for thread in threading.enumerate()}
    for task in sorted(map(int, os.listdir("/proc/self/task"))):
        if task == os.getpid():
            continue
        try:
            with open(f"/proc/self/task/{task}/comm") as file:
                name = file.read().strip()
        except OSError:
            continue
        yield names.get(task, name)
