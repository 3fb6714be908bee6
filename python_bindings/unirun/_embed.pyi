"""What Python code sees of unirun's C++: of the program that runs it, or of the extension module of this name."""

from asyncio import Future
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Literal, Protocol, TypedDict, final

def call(name: str, /, *args: object, **kwargs: object) -> Any: ...
def async_call(name: str, /, *args: object, **kwargs: object) -> Future[Any]: ...

class _Functions(Protocol):
    def __getattr__(self, name: str) -> Any: ...

functions: _Functions

def attach(
    *,
    num_workers: int = 0,
    queue_size: int = 10000,
    overflow: str = "reject",
    sys_path: Sequence[str] = (),
    preload: Sequence[str] = (),
    use_subinterpreters: bool = False,
    allow_unsafe_subinterpreters: bool = False,
    num_subinterp_workers: int = 0,
    keyboard_interrupt: bool = False,
) -> None: ...
def shutdown(*, drain: float = 5.0, interrupt: bool = True, grace: float = 5.0) -> None: ...
def is_initialized() -> bool: ...
def submit(task: Callable[[], object], refused: Callable[[BaseException], object], /) -> None: ...

_Mode = Literal["automatic", "free_threaded", "subinterp", "multi_executor", "process"]

def parallel(
    calls: list[tuple[str, str, tuple[object, ...], dict[str, object]]], timeout: float | None, mode: str, /
) -> list[Any]: ...
def execution_mode() -> tuple[_Mode, str, str, bool, list[tuple[str, str]]]: ...
def serve() -> int: ...

class Histogram(TypedDict):
    count: int
    sum_ns: int
    mean_ns: int
    p50_ns: int
    p90_ns: int
    p99_ns: int
    max_ns: int

class WorkerStats(TypedDict):
    id: int
    executed: int
    failed: int
    cancelled: int
    timed_out: int
    interrupted: int
    is_busy: bool
    cpu: int | None

class Stats(TypedDict):
    submitted: int
    tasks_executed: int
    tasks_queued: int
    tasks_failed: int
    cancelled: int
    timed_out: int
    rejected: int
    interrupted: int
    running: int
    stuck: int
    workers: int
    avg_execution_time_ns: int
    avg_queue_wait_ns: int
    avg_gil_wait_ns: int
    queue_wait: Histogram
    execution: Histogram
    gil_wait: Histogram
    per_worker: list[WorkerStats]

def stats() -> Stats: ...
def prometheus_text() -> str: ...
def waiting() -> list[list[str]]: ...

@final
class Counter:
    def incr(self, by: int = 1, /) -> int: ...
    def decr(self, by: int = 1, /) -> int: ...
    def exchange(self, value: int, /) -> int: ...
    @property
    def value(self) -> int: ...

@final
class SharedState:
    def __getitem__(self, key: str, /) -> Any: ...
    def __setitem__(self, key: str, value: object, /) -> None: ...
    def __delitem__(self, key: str, /) -> None: ...
    def __contains__(self, key: str, /) -> bool: ...
    def __len__(self) -> int: ...
    def get(self, key: str, default: Any = None, /) -> Any: ...
    def set(self, key: str, value: object, *, ttl: float | None = None) -> None: ...
    def keys(self, prefix: str = "", /) -> list[str]: ...
    def counters(self, prefix: str = "", /) -> list[str]: ...
    def clear(self) -> None: ...
    def update(self, key: str, function: Callable[[Any], object], /) -> Any: ...
    def compare_exchange(self, key: str, expected: object, desired: object, /) -> bool: ...
    def incr(self, key: str, by: int = 1, /) -> int: ...
    def decr(self, key: str, by: int = 1, /) -> int: ...
    def counter(self, key: str, /) -> Counter: ...

state: Final[SharedState]

class Interrupted(BaseException): ...

class shield:  # noqa: N801
    def __enter__(self) -> shield: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> None: ...
