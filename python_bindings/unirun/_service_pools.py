"""The executors that a service opens by `Run`: named after it, counted in its metrics, gone with it."""

from __future__ import annotations

from threading import Lock, Thread
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from unirun._metrics import pulse
from unirun.executors.counting import count, stop_counting

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Executor

    from unirun._metrics import MetricSink

COUNTED = ("submitted", "completed", "failed", "cancelled")
MEASURED = ("queued", "running")


class ServicePools:
    """All executors that one life of a service has open. Thread: any."""

    def __init__(self, path: str, sink: MetricSink) -> None:
        self._path = path
        self._sink = sink
        self._lock = Lock()
        self._open: dict[int, _Told] = {}  # By the identity of the executor.
        self._has_ended = False
        self._measured = (0, 0)
        sink.count("tasks_submitted", 0)  # From the first pool on it is told that there are tasks.

    def add(self, executor: Executor) -> None:
        """Count what ``executor`` does, and end it with the service. Raises `RuntimeError` once that has ended."""
        with self._lock:
            if not self._has_ended:
                told = self._open[id(executor)] = _Told(executor)
                pulse.attend(self.sample)
                told.watch(pulse.bell())
                return
        executor.shutdown(wait=False)
        raise RuntimeError(f"{self._path}: this service has ended; what it leaves running opens no pools")

    def remove(self, executor: Executor) -> None:
        """Forget ``executor``, which has been shut down."""
        self.sample()
        with self._lock:
            told = self._open.pop(id(executor), None)
            if not self._open:
                pulse.leave(self.sample)
        if told is not None:
            told.forget()

    def end(self) -> None:
        """End what is open, without waiting: tasks that have not begun are cancelled, worker processes killed.

        A thread ends with the task that it is at.
        """
        with self._lock:
            self._has_ended = True
            open_ones = [told.executor for told in self._open.values()]
        for executor in open_ones:
            end(executor)
        for executor in open_ones:
            self.remove(executor)

    def sample(self) -> None:
        """Tell the service's metrics what has changed since the last time."""
        with self._lock:
            measured = [0, 0]
            for told in self._open.values():
                told.watch(pulse.bell())  # Before the look: nothing is missed.
                now = told.statistics()
                for name in COUNTED:
                    if by := now[name] - told.counters[name]:
                        told.counters[name] = now[name]
                        self._sink.count(f"tasks_{name}", by)
                for place, name in enumerate(MEASURED):
                    measured[place] += now[name]
            for place, name in enumerate(MEASURED):
                if measured[place] != self._measured[place]:
                    self._sink.gauge(f"tasks_{name}", measured[place])
            self._measured = (measured[0], measured[1])


class _Told:
    """What has been told of one executor."""

    def __init__(self, executor: Executor) -> None:
        self.executor = executor
        self.counters = dict.fromkeys(COUNTED, 0)
        native: Any = executor
        self._tally = None if hasattr(native, "_statistics") else count(executor)
        self.statistics: Callable[[], Mapping[str, Any]] = (self._tally or native)._statistics
        self.watch: Callable[[int], object] = (self._tally or native)._watch

    def forget(self) -> None:
        self.watch(-1)
        if self._tally is not None:
            stop_counting(self.executor, self._tally)


_left_behind: WeakSet[Thread] = WeakSet()


def are_threads_left(patience: float) -> bool:
    """Whether a thread of a pool that ended with its service is still at a task, after so many seconds at most."""
    deadline = monotonic() + patience
    for thread in list(_left_behind):
        thread.join(max(0.0, deadline - monotonic()))
    return any(thread.is_alive() for thread in list(_left_behind))


def end(executor: Executor) -> None:
    """Shut ``executor`` down without waiting, its worker processes by force."""
    _left_behind.update(getattr(executor, "_threads", ()))
    processes = list((getattr(executor, "_processes", None) or {}).values())
    executor.shutdown(wait=False, cancel_futures=True)
    for process in processes:
        try:
            process.kill()
        except ValueError:  # It has ended, and was closed.
            pass


def name_process(name: str) -> None:
    """Name this worker process: ``multiprocessing.current_process().name``, and what ``ps`` shows of it."""
    from multiprocessing import current_process

    process = current_process()
    process.name = f"{name}_{process.name.rpartition('-')[2]}"
    try:
        with open("/proc/self/comm", "w", encoding="utf-8", errors="replace") as comm:
            comm.write(name.rpartition("/")[2])  # The kernel keeps 15 bytes of it.
    except OSError:  # Nothing but a name.
        pass
