"""What the benchmarks of the pools share: engines, tasks, turns and the table.

Every engine opens a pool in its turn, round by round, in one process; a ratio is the median of the ratios of the
rounds, for what disturbs the machine disturbs both sides of one round. A pool that is not what it says is refused.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

WORKERS = 2
SECOND_PER = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


# ---- Tasks: a worker of any kind imports them ----


def same(value: Any) -> Any:
    return value


def where(_: int = 0) -> tuple[int, int, int]:
    """Process, thread and interpreter that this runs in."""
    return os.getpid(), threading.get_ident(), interpreter()


def interpreter() -> int:
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            current = importlib.import_module(name).get_current()
        except ImportError:
            continue
        return int(current[0] if isinstance(current, tuple) else current)
    return 0


# ---- Engines ----


@dataclass(frozen=True)
class Engine:
    """A way to a pool: ``make(workers)`` gives something with submit, map and an end; each submit gives a result()."""

    name: str
    make: Callable[[int], Any]
    end: Callable[[Any], None] = lambda pool: pool.shutdown()

    @contextmanager
    def open(self, workers: int = WORKERS) -> Iterator[Any]:
        pool = self.make(workers)
        try:
            yield pool
        finally:
            self.end(pool)


class Pebble:
    """pebble's pools by the names of the standard ones."""

    def __init__(self, pool: Any, *between: Any) -> None:
        self.pool = pool
        self.between = between

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.pool.submit(function, *self.between, *arguments)

    def map(self, function: Callable[..., Any], values: Sequence[Any], chunksize: int = 1) -> Any:
        return self.pool.map(function, values, chunksize=chunksize).result()

    def shutdown(self) -> None:
        self.pool.close()
        self.pool.join()


class Mpire:
    """mpire's pool by the names of the standard ones."""

    def __init__(self, pool: Any) -> None:
        self.pool = pool

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return self.pool.apply_async(function, arguments)

    def map(self, function: Callable[..., Any], values: Sequence[Any], chunksize: int = 1) -> Any:
        return self.pool.map(function, values, chunk_size=chunksize)

    def shutdown(self) -> None:
        self.pool.stop_and_join()
        self.pool.__exit__(None, None, None)


def named(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def native(flavor: str, name: str) -> Callable[[int], Any]:
    """Our pool of this flavor, by the name of the standard class that it is one of."""
    made: Callable[[int], Any] = named(f"unirun.executors.{flavor}", name)
    return made


def mpire(start_method: str) -> Callable[[int], Mpire]:
    result_class = named("mpire.async_result", "AsyncResult")
    result_class.result = result_class.get
    pool_class = named("mpire", "WorkerPool")
    return lambda workers: Mpire(pool_class(n_jobs=workers, start_method=start_method, keep_alive=True))


def pebble(name: str, *between: Any) -> Callable[[int], Pebble]:
    pool_class = named("pebble", name)
    return lambda workers: Pebble(pool_class(max_workers=workers), *between)


def available(rivals: dict[str, Callable[[], Callable[[int], Any]]]) -> list[Engine]:
    """The rivals that are installed; the others are named."""
    found = []
    for name, make in rivals.items():
        try:
            found.append(Engine(name, make()))
        except ImportError as error:
            print(f"not measured: {error} (make bench installs requirements/bench.txt)", file=sys.stderr)
    return found


# ---- Measures ----


@dataclass(frozen=True)
class Sample:
    p50: float  # Seconds, or a count a second where more is better.
    p99: float | None = None


@dataclass(frozen=True)
class Measure:
    """A row. ``reach`` is the ratio to the standard library that it is to have on one CPU and free."""

    name: str
    unit: str  # "us", "ms", "/s" or "B".
    take: Callable[[Engine, Any], Sample]
    one_cpu: float | None = None
    free: float | None = None
    p99_one_cpu: float | None = None
    rivals: bool = True
    alone: bool = False  # Opens pools itself, beside no other.

    @property
    def more_is_better(self) -> bool:
        return self.unit == "/s"


def each(act: Callable[[], object], times: int) -> Sample:
    """The time of one act, many times."""
    clock = time.perf_counter
    taken = []
    for _ in range(times):
        began = clock()
        act()
        taken.append(clock() - began)
    taken.sort()
    return Sample(taken[times // 2], taken[times * 99 // 100] if times >= 100 else None)


def submit_cost(count: int) -> Callable[[Engine, Any], Sample]:
    def take(_: Engine, pool: Any) -> Sample:
        submit, futures = pool.submit, []
        began = time.perf_counter()
        for _number in range(count):
            futures.append(submit(same, 1))
        taken = time.perf_counter() - began
        for future in futures:
            future.result()
        return Sample(taken / count)

    return take


def batch(count: int) -> Callable[[Engine, Any], Sample]:
    def take(_: Engine, pool: Any) -> Sample:
        submit = pool.submit
        began = time.perf_counter()
        futures = [submit(same, number) for number in range(count)]
        results = [future.result() for future in futures]
        taken = time.perf_counter() - began
        assert results == list(range(count))
        return Sample(count / taken)

    return take


def mapped(count: int, chunksize: int = 1) -> Callable[[Engine, Any], Sample]:
    def take(_: Engine, pool: Any) -> Sample:
        began = time.perf_counter()
        results = list(pool.map(same, range(count), chunksize=chunksize))
        taken = time.perf_counter() - began
        assert results == list(range(count))
        return Sample(count / taken)

    return take


def round_trip(count: int, value: Any = 1) -> Callable[[Engine, Any], Sample]:
    def take(_: Engine, pool: Any) -> Sample:
        for _number in range(min(count, 50)):
            pool.submit(same, value).result()
        return each(lambda: pool.submit(same, value).result(), count)

    return take


def start(count: int) -> Callable[[Engine, Any], Sample]:
    """From the constructor to the first result, one worker."""

    def take(engine: Engine, _: Any) -> Sample:
        taken = []
        for _number in range(count):
            began = time.perf_counter()
            with engine.open(1) as pool:
                pool.submit(same, 1).result()
                taken.append(time.perf_counter() - began)
        return Sample(statistics.median(taken))

    return take


# ---- The run ----


def options_of(description: str | None, rounds: int = 5) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=rounds, help=f"turns of each engine (default {rounds})")
    parser.add_argument("--cpus", help="the CPUs to stay on, such as 0 or 0,1 (default: all)")
    parser.add_argument("--json", metavar="PATH", help="write every sample there")
    parser.add_argument("--only", metavar="WORD", help="the rows whose names hold this")
    parser.add_argument("--no-rivals", action="store_true", help="the standard library and ours alone")
    options = parser.parse_args()
    if options.cpus:
        os.sched_setaffinity(0, {int(cpu) for cpu in options.cpus.split(",")})
    return options


@dataclass
class Run:
    """Rounds of all engines over all measures; the first engine is the standard library, the second is ours."""

    title: str
    engines: list[Engine]
    measures: list[Measure]
    refuse: Callable[[Engine, Any], None]
    samples: dict[tuple[str, str], list[Sample]] = field(default_factory=lambda: defaultdict(list))

    def go(self, options: argparse.Namespace) -> None:
        if options.only:
            self.measures = [measure for measure in self.measures if options.only in measure.name]
        if options.no_rivals:
            self.engines = self.engines[:2]
        for _ in range(options.rounds):
            for engine in self.engines:
                for measure in self.measures:
                    if not measure.rivals and engine not in self.engines[:2]:
                        continue
                    with engine.open() as pool:
                        self.refuse(engine, pool)
                        sample = None if measure.alone else measure.take(engine, pool)
                    self.samples[measure.name, engine.name].append(sample or measure.take(engine, None))
        self.print_table()
        if options.json:
            with open(options.json, "w", encoding="utf-8") as out:
                json.dump(self.record(), out, indent=1)

    @property
    def one_cpu(self) -> bool:
        return len(os.sched_getaffinity(0)) == 1

    def ratio(self, measure: Measure, other: str, percentile: str = "p50") -> float | None:
        """How many times better ours is than the other."""
        ours = [getattr(sample, percentile) for sample in self.samples[measure.name, self.engines[1].name]]
        theirs = [getattr(sample, percentile) for sample in self.samples[measure.name, other]]
        if not theirs or None in ours or None in theirs:
            return None
        if measure.more_is_better:
            ours, theirs = theirs, ours
        return float(statistics.median(b / a for a, b in zip(ours, theirs, strict=True)))

    def figure(self, measure: Measure, engine: str) -> str:
        samples = self.samples[measure.name, engine]
        if not samples:
            return "-"
        text = self.number(measure, statistics.median(sample.p50 for sample in samples))
        if samples[0].p99 is not None:
            text += " / " + self.number(measure, statistics.median(sample.p99 or 0.0 for sample in samples))
        return text

    @staticmethod
    def number(measure: Measure, value: float) -> str:
        if measure.unit == "/s":
            return f"{value / 1e6:.3g} M/s" if value >= 1e6 else f"{value / 1e3:.3g} K/s"
        if measure.unit == "B":
            return f"{value:.0f} B"
        return f"{value / SECOND_PER[measure.unit]:.3g} {measure.unit}"

    def print_table(self) -> None:
        standard, ours = self.engines[:2]
        where = "one CPU" if self.one_cpu else f"{len(os.sched_getaffinity(0))} CPUs"
        print(f"{self.title}: Python {sys.version.split()[0]}, {where}, load {os.getloadavg()[0]:.1f}; p50 / p99\n")
        others = self.engines[2:]
        names = ["ratio", "reach", "", "what", ours.name, standard.name]
        names += [f"{rival.name} (x ours)" for rival in others]
        rows = [names]
        for measure in self.measures:
            reach = measure.one_cpu if self.one_cpu else measure.free
            rows.append(self.row(measure, measure.name, "p50", reach))
            if (p99 := self.ratio(measure, standard.name, "p99")) is not None:
                tail = measure.p99_one_cpu if self.one_cpu else None
                rows.append([f"{p99:.2f}x", *verdict(p99, tail), f"{measure.name}, p99"])
        widths = [max(len(row[column]) for row in rows if column < len(row)) for column in range(len(names))]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip())
        print(flush=True)

    def row(self, measure: Measure, name: str, percentile: str, reach: float | None) -> list[str]:
        standard, ours, *others = (engine.name for engine in self.engines)
        ratio = self.ratio(measure, standard, percentile)
        assert ratio is not None
        row = [f"{ratio:.2f}x", *verdict(ratio, reach), name]
        row += [self.figure(measure, ours), self.figure(measure, standard)]
        for rival in others:
            behind = self.ratio(measure, rival)
            text = self.figure(measure, rival)
            if behind is not None:
                text += f" ({1 / behind:.2g}{'' if behind >= 1 else ' AHEAD'})"
            row.append(text)
        return row

    def record(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "python": sys.version.split()[0],
            "cpus": sorted(os.sched_getaffinity(0)),
            "rows": [
                {
                    "what": measure.name,
                    "unit": measure.unit,
                    "reach": measure.one_cpu if self.one_cpu else measure.free,
                    "ratio": self.ratio(measure, self.engines[0].name),
                    "ratio_p99": self.ratio(measure, self.engines[0].name, "p99"),
                    "samples": {
                        engine.name: [[sample.p50, sample.p99] for sample in self.samples[measure.name, engine.name]]
                        for engine in self.engines
                    },
                }
                for measure in self.measures
            ],
        }


def verdict(ratio: float, reach: float | None) -> list[str]:
    if reach is None:
        return ["", ""]
    return [f"{reach:g}x", "met" if ratio >= reach else "MISSED"]


def refuse(engine: Engine, what: str) -> None:
    sys.exit(f"{engine.name} is not what it says: {what}")
