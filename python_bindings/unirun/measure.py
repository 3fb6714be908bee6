"""What `doctor` and `bench` have in common: the engines there are, tasks that tell their times, quantiles, tables."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

from unirun.config import RuntimeConfig
from unirun.executors.pools import NATIVE, STANDARD
from unirun.scheduler import global_scheduler
from unirun.scope import MODE_OF, Run

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from unirun.capabilities import RuntimeCapabilities
    from unirun.config import Engine
    from unirun.scope import Flavor

FLAVORS: tuple[Flavor, ...] = ("threads", "processes", "interpreters")
BOUNDS = tuple(1e-6 * 2**exponent for exponent in range(31))  # Seconds: 1 us to 1,000 s.


class Contender(NamedTuple):
    """One engine beneath one flavor."""

    flavor: Flavor
    engine: Engine

    def open(self, workers: int) -> Run:
        """A scope on exactly this engine."""
        return Run(flavor=self.flavor, max_workers=workers, name="measured", config=RuntimeConfig(engine=self.engine))


def contenders(capabilities: RuntimeCapabilities, flavors: Sequence[Flavor] = FLAVORS) -> list[Contender]:
    """Every engine of this interpreter, native before standard. Interpreters only where they are safe."""
    import concurrent.futures

    found: list[Contender] = []
    for flavor in flavors:
        kind = MODE_OF[flavor]
        assert kind in ("thread", "process", "subinterpreter")
        if kind == "subinterpreter" and not capabilities.subinterpreters_safe:
            continue
        if kind in NATIVE:
            found.append(Contender(flavor, "native"))
        if hasattr(concurrent.futures, STANDARD[kind].partition(":")[2]):
            found.append(Contender(flavor, "stdlib"))
    return found


class Lap(NamedTuple):
    """When a task was submitted, began and ended: seconds of the clock that all processes share."""

    submitted: float
    began: float
    ended: float


def lap(submitted: float, task: Callable[..., object], args: tuple[Any, ...]) -> Lap:
    """In the worker: do ``task``, and tell when."""
    began = monotonic()
    task(*args)
    return Lap(submitted, began, monotonic())


def laps(executor: Executor, count: int, task: Callable[..., object], args: tuple[Any, ...]) -> list[Lap]:
    """Submit ``task`` so many times, then wait for all."""
    futures = [executor.submit(lap, monotonic(), task, args) for _ in range(count)]
    return [future.result() for future in futures]


def nothing() -> None:
    """The smallest task."""


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of all does not exceed. 0 where there is none."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


def histogram(values: Sequence[float]) -> list[tuple[float, int]]:
    """How many of ``values`` fall into each bucket: upper bound and number; what is longer counts in the last."""
    from bisect import bisect_left

    numbers = [0] * len(BOUNDS)
    for value in values:
        numbers[min(bisect_left(BOUNDS, value), len(BOUNDS) - 1)] += 1
    return list(zip(BOUNDS, numbers, strict=True))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines with columns; the first two to the left, numbers to the right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def capabilities_now() -> RuntimeCapabilities:
    return global_scheduler().capabilities
