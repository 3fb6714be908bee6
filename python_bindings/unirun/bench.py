"""``python -m unirun bench``: the same tasks on every engine, native beside standard, in one run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any, NamedTuple

from unirun.measure import (
    FLAVORS,
    Contender,
    Lap,
    capabilities_now,
    contenders,
    histogram,
    lap,
    laps,
    nothing,
    quantile,
    table,
)
from unirun.plots import Histogram, draw, told
from unirun.workloads import count_primes, mixed_workload, simulate_blocking_io

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor


class Profile(NamedTuple):
    """Tasks of one kind."""

    about: str
    tasks: int
    task: Callable[..., object]
    args: tuple[Any, ...]
    from_loop: bool = False
    """Submitted by coroutines, through ``loop.run_in_executor``."""


PROFILES: dict[str, Profile] = {
    "tasks": Profile("2,000 tasks that do nothing: what the engine itself costs", 2000, nothing, ()),
    "cpu": Profile("16 tasks that count primes", 16, count_primes, (100_000,)),
    "io": Profile("32 tasks that wait 5 ms", 32, simulate_blocking_io, (0.005,)),
    "mixed": Profile("32 tasks that wait 2 ms, then count primes", 32, mixed_workload, (20_000, 0.002)),
    "async": Profile("500 tasks that do nothing, awaited by coroutines", 500, nothing, (), True),
}


@dataclass(slots=True)
class Result:
    """One profile on one engine."""

    profile: str
    contender: Contender
    seconds: list[float]
    """Of each sample: from the first submit to the last result."""
    laps: list[Lap]

    @property
    def waits(self) -> list[float]:
        return [each.began - each.submitted for each in self.laps]

    @property
    def runs(self) -> list[float]:
        return [each.ended - each.began for each in self.laps]

    def as_dict(self, standard: Result | None) -> dict[str, Any]:
        median = quantile(self.seconds, 0.5)
        return {
            "profile": self.profile,
            "flavor": self.contender.flavor,
            "engine": self.contender.engine,
            "seconds": self.seconds,
            "median_seconds": median,
            "min_seconds": min(self.seconds),
            "wait_seconds": {"p50": quantile(self.waits, 0.5), "p99": quantile(self.waits, 0.99)},
            "run_seconds": {"p50": quantile(self.runs, 0.5), "p99": quantile(self.runs, 0.99)},
            "times_as_fast_as_standard": quantile(standard.seconds, 0.5) / median if standard and median else None,
        }


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command. Returns the exit code; ends with 2 on wrong usage."""
    said = _parser().parse_args(arguments)
    results = [
        result
        for name in said.profile or PROFILES
        for result in measure(name, contenders(capabilities_now(), said.flavor or FLAVORS), said.samples, said.workers)
    ]
    rows = [result.as_dict(_standard_of(result, results)) for result in results]
    print(json.dumps({"workers": said.workers, "results": rows}, indent=2) if said.json else as_text(rows))
    try:
        if said.plot is not None:
            plot(said.plot, results)
    except OSError as error:
        print(f"bench: --plot: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    profiles = "\n".join(f"  {name:6} {profile.about}" for name, profile in PROFILES.items())
    parser = argparse.ArgumentParser(
        prog="python -m unirun bench",
        description=f"{(__doc__ or '').split(': ', 1)[1]}\n\nprofiles:\n{profiles}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    cores = capabilities_now().cpu_count
    parser.add_argument("--profile", action="append", choices=list(PROFILES), help="repeatable; default: all")
    parser.add_argument("--flavor", action="append", choices=FLAVORS, help="repeatable; default: all that are here")
    parser.add_argument("--samples", type=_whole, default=5, help="how often each is measured; default 5")
    parser.add_argument("--workers", type=_whole, default=cores, help=f"workers of each pool; default {cores}")
    parser.add_argument("--json", action="store_true", help="as one JSON object, with every sample")
    parser.add_argument(
        "--plot", metavar="PATH", type=_picture, help="draw wait and run times: .svg, or .png with matplotlib"
    )
    return parser


def _whole(text: str) -> int:
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


_whole.__name__ = "whole number from 1 on"  # As argparse tells it.


def _picture(path: str) -> str:
    """A path that can be drawn to: told before anything is measured."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix == ".svg" or (suffix == ".png" and find_spec("matplotlib") is not None):
        return path
    raise argparse.ArgumentTypeError(f"{path!r}: pictures are .svg, or .png where matplotlib is installed")


# ---- Measuring ----


def measure(name: str, engines: Sequence[Contender], samples: int, workers: int) -> list[Result]:
    """One profile on all engines: a sample of each in turn, so that what disturbs one disturbs all."""
    profile = PROFILES[name]
    results = [Result(name, engine, [], []) for engine in engines]
    scopes = [engine.open(workers) for engine in engines]
    opened = []
    try:
        for scope in scopes:
            opened.append((scope, scope.__enter__()))
        for _, executor in opened:
            laps(executor, workers, nothing, ())  # The workers are up.
        for _ in range(samples):
            for result, (_, executor) in zip(results, opened, strict=True):
                began = perf_counter()
                result.laps += _once(executor, profile)
                result.seconds.append(perf_counter() - began)
    finally:
        for scope, _ in reversed(opened):
            scope.__exit__(None, None, None)
    return results


def _once(executor: Executor, profile: Profile) -> list[Lap]:
    if profile.from_loop:
        return asyncio.run(_from_loop(executor, profile))
    return laps(executor, profile.tasks, profile.task, profile.args)


async def _from_loop(executor: Executor, profile: Profile) -> list[Lap]:
    loop = asyncio.get_running_loop()
    return await asyncio.gather(
        *(loop.run_in_executor(executor, lap, monotonic(), profile.task, profile.args) for _ in range(profile.tasks))
    )


def _standard_of(result: Result, results: Sequence[Result]) -> Result | None:
    """The standard engine's result that a native one is held against."""
    if result.contender.engine == "stdlib":
        return None
    wanted = (result.profile, result.contender._replace(engine="stdlib"))
    return next((each for each in results if (each.profile, each.contender) == wanted), None)


# ---- Telling ----


def as_text(rows: Sequence[dict[str, Any]]) -> str:
    head = ("profile", "flavor", "engine", "median", "min", "wait p50", "run p50", "against standard")
    return table(
        head,
        [
            (
                row["profile"],
                row["flavor"],
                row["engine"],
                told(row["median_seconds"]),
                told(row["min_seconds"]),
                told(row["wait_seconds"]["p50"]),
                told(row["run_seconds"]["p50"]),
                f"{fast:.2f}x" if (fast := row["times_as_fast_as_standard"]) is not None else "",
            )
            for row in rows
        ],
    )


def plot(path: str, results: Sequence[Result]) -> None:
    """Draw the wait and run times of every result into ``path``."""
    shown = []
    for result in results:
        title = f"{result.profile}, {result.contender.flavor}, {result.contender.engine}"
        shown.append(Histogram(f"{title}: waited", histogram(result.waits)))
        shown.append(Histogram(f"{title}: ran", histogram(result.runs)))
    draw(path, "Time from submit to start, and from start to end", shown)
