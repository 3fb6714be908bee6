"""``python -m unirun doctor``: what can be done here, what auto chooses and why, how fast each engine is."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, replace
from time import perf_counter
from typing import TYPE_CHECKING, Any

from unirun.decisions import REASONS
from unirun.measure import Contender, capabilities_now, contenders, nothing, quantile, table
from unirun.plots import told
from unirun.scheduler import choose, global_scheduler, size_of, why_no_interpreters
from unirun.workloads import count_primes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from unirun.capabilities import RuntimeCapabilities

BATCH = 200
PRIMES = 100_000  # Some 5 ms.
SAID: tuple[tuple[str, dict[str, Any]], ...] = (
    ("nothing", {}),
    ("cpu_bound=True", {"cpu_bound": True}),
    ("io_bound=True", {"io_bound": True}),
    ("prefers_subinterpreters=True", {"prefers_subinterpreters": True}),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out the command. Returns the exit code; ends with 2 on wrong usage."""
    parser = argparse.ArgumentParser(prog="python -m unirun doctor", description=(__doc__ or "").split(": ", 1)[1])
    parser.add_argument("--seconds", type=_seconds, default=10.0, help="how long to measure; 0 measures nothing")
    parser.add_argument("--json", action="store_true", help="as one JSON object")
    said = parser.parse_args(arguments)
    report = examine(said.seconds)
    print(json.dumps(report, indent=2) if said.json else as_text(report))
    return 0


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < float("inf"):
        raise ValueError(text)
    return seconds


_seconds.__name__ = "number of seconds"  # As argparse tells it.


def examine(seconds: float) -> dict[str, Any]:
    """All that the command tells, as plain values. Takes some ``seconds``."""
    capabilities = capabilities_now()
    engines = contenders(capabilities)
    share = seconds / max(len(engines), 1)
    return {
        "capabilities": asdict(capabilities),
        "config": asdict(global_scheduler().config),
        "auto": [_choice(said, hints, capabilities) for said, hints in SAID],
        "calibration": [calibrate(engine, share) for engine in engines] if seconds else [],
    }


def _choice(said: str, hints: dict[str, Any], capabilities: RuntimeCapabilities) -> dict[str, Any]:
    config = replace(global_scheduler().config, **hints)
    mode, code = choose("auto", config, capabilities)
    reason = REASONS[code]
    if mode == "subinterpreter" and (why_not := why_no_interpreters(config, capabilities)) is not None:
        mode, reason = "thread", f"{reason}; {REASONS['fallback']}: {why_not}"
    workers = size_of(mode, config, capabilities)
    return {"said": said, "mode": mode, "workers": workers, "code": code, "reason": reason}


# ---- Calibration ----


def calibrate(engine: Contender, seconds: float) -> dict[str, Any]:
    """One engine: its start, its round trip, its throughput, and what a second worker brings."""
    found: dict[str, Any] = {"flavor": engine.flavor, "engine": engine.engine}
    workers = max(2, capabilities_now().cpu_count)
    with engine.open(1):  # Its modules are imported: that is not the start of a pool.
        pass
    began = perf_counter()
    with engine.open(workers) as executor:
        executor.submit(nothing).result()
        found["class"] = f"{type(executor).__module__}.{type(executor).__qualname__}"
        found["start_seconds"] = perf_counter() - began
        trips = _round_trips(executor, seconds * 0.3)
        found["round_trip_seconds"] = {"p50": quantile(trips, 0.5), "p99": quantile(trips, 0.99), "count": len(trips)}
        found["tasks_per_second"] = _throughput(executor, seconds * 0.3)
        found["workers"] = workers
        found["speedup"] = _speedup(executor, workers, seconds * 0.4)
    return found


def _round_trips(executor: Executor, seconds: float) -> list[float]:
    trips: list[float] = []
    end = perf_counter() + seconds
    while not trips or perf_counter() < end:
        began = perf_counter()
        executor.submit(nothing).result()
        trips.append(perf_counter() - began)
    return trips


def _throughput(executor: Executor, seconds: float) -> float:
    done, began = 0, perf_counter()
    while not done or perf_counter() < began + seconds:
        for future in [executor.submit(nothing) for _ in range(BATCH)]:
            future.result()
        done += BATCH
    return done / (perf_counter() - began)


def _speedup(executor: Executor, workers: int, seconds: float) -> float:
    """How many times as much is computed as by the caller alone: the workers' number at best, 1 under one GIL."""
    alone: list[float] = []
    together: list[float] = []
    end = perf_counter() + seconds
    while not alone or perf_counter() < end:
        began = perf_counter()
        for _ in range(workers):
            count_primes(PRIMES)
        halfway = perf_counter()
        for future in [executor.submit(count_primes, PRIMES) for _ in range(workers)]:
            future.result()
        alone.append(halfway - began)
        together.append(perf_counter() - halfway)
    return quantile(alone, 0.5) / quantile(together, 0.5)


# ---- Text ----


def as_text(report: dict[str, Any]) -> str:
    parts = [_capabilities_text(report["capabilities"]), "", "What auto chooses, and why, when the call says"]
    width = max(len(choice["said"]) for choice in report["auto"])
    for choice in report["auto"]:
        sized = f"{choice['mode']} ({choice['workers']} workers)"
        parts.append(f"  {choice['said']:{width}}  {sized}: {choice['reason']}")
    if report["calibration"]:
        parts += ["", "What the engines do on this machine", _calibration_text(report["calibration"])]
    return "\n".join(parts)


def _capabilities_text(found: dict[str, Any]) -> str:
    gil = "GIL on" if found["gil_enabled"] else "GIL off"
    build = "free-threaded build" if found["free_threading_build"] else "build with a GIL"
    quota = "no CPU quota" if found["cpu_quota"] is None else f"a CPU quota of {found['cpu_quota']:g} cores"
    if found["subinterpreters_safe"]:
        interpreters = "there, and safe"
    elif found["supports_subinterpreters"]:
        interpreters = "there, but not safe: used only where prefers_subinterpreters=True consents"
    else:
        interpreters = "not there: they need CPython 3.12 or newer"
    sizes = f"io {found['suggested_io_workers']}, cpu {found['suggested_cpu_workers']}"
    return "\n".join(
        [
            f"Python {found['python_release']}: {build}, {gil}",
            f"  cores         {found['cpu_count']} of {found['machine_cpu_count']} may be used, {quota}",
            f"  interpreters  {interpreters}",
            f"  sizes         {sizes}, processes {found['suggested_process_workers']}",
        ]
    )


def _calibration_text(rows: Sequence[dict[str, Any]]) -> str:
    head = ("flavor", "engine", "start", "round trip p50", "p99", "tasks/s", "computes")
    return table(
        head,
        [
            (
                row["flavor"],
                row["engine"],
                told(row["start_seconds"]),
                told(row["round_trip_seconds"]["p50"]),
                told(row["round_trip_seconds"]["p99"]),
                f"{row['tasks_per_second']:,.0f}",
                f"{row['speedup']:.1f}x on {row['workers']}",
            )
            for row in rows
        ],
    )
