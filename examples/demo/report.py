"""What the demo prints when it is over: the tree, the deaths, the verdict. Fits 90 columns."""

from __future__ import annotations

import math
import signal
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from unirun.events import Event, ExitReason, HostStopping, ServiceExited, ServiceStarted, ServiceStarting

WIDTH = 90
STYLES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


@dataclass(frozen=True)
class Check:
    """One line of the verdict."""

    passed: bool
    what: str
    found: str


class Deaths:
    """Counts deaths by cause, and measures from each to the moment its successor was ready."""

    CAUSES = ("exception", "segfault", "hang", "killed from outside", "sibling fell")

    def __init__(self) -> None:
        self.counts: dict[str, int] = dict.fromkeys(self.CAUSES, 0)
        self.example: dict[str, str] = {}
        self.latencies: dict[str, list[float]] = defaultdict(list)
        self._died: dict[str, tuple[float, str]] = {}
        self._stopping = False

    def add(self, event: Event) -> None:
        if isinstance(event, HostStopping):
            self._stopping = True
        if self._stopping:
            return  # Everything ends now, and nothing is to come back.
        if isinstance(event, ServiceExited):
            cause = cause_of(event)
            if cause is not None:
                self._died[event.path] = (event.monotonic, cause)
                self.counts[cause] = self.counts.get(cause, 0) + 1
                self.example.setdefault(cause, describe(event.reason))
        elif isinstance(event, ServiceStarting) and event.cause == "command":
            self._died.pop(event.path, None)
        elif isinstance(event, ServiceStarted) and event.path in self._died:
            died, cause = self._died.pop(event.path)
            self.latencies[cause].append(event.monotonic - died)

    def unseen(self) -> list[str]:
        """The causes that have not occurred, or not been recovered from."""
        return [cause for cause in self.CAUSES if not self.latencies[cause]]


def cause_of(event: ServiceExited) -> str | None:
    reason = event.reason
    if event.expected:
        return "sibling fell" if event.path.endswith("/consumer") else None
    if reason.is_clean:
        return None
    if reason.kind == "exception":
        return "exception"
    if reason.kind == "liveness_timeout":
        return "hang"
    if reason.kind == "signal" and reason.signal == signal.SIGSEGV:
        return "segfault"
    if reason.kind == "signal" and reason.signal == signal.SIGKILL:
        return "killed from outside"
    return reason.kind


def describe(reason: ExitReason) -> str:
    if reason.exception is not None:
        return f"{reason.exception.type.rpartition('.')[2]}: {reason.exception.message}"
    if reason.kind == "signal" and reason.signal is not None:
        stacks = ", with every thread's stack" if reason.stacks else ""
        return signal.Signals(reason.signal).name + stacks
    return reason.detail or reason.kind


class Report:
    """Writes to a terminal in colours, and to anything else without."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colours = out.isatty()

    def title(self, text: str) -> None:
        self._line(self._styled(text, "bold"))

    def tree(self, tree: Mapping[str, Any], told: Mapping[str, str]) -> None:
        self._section("The tree, shortly before the end, and what each said of itself")
        self._nodes("", tree.get("supervisors", []), told)

    def deaths(self, deaths: Deaths) -> None:
        self._section("Restarts by cause, and from death to ready again")
        header = f"{'cause':<22}{'deaths':>7}{'p50':>10}{'p99':>10}   for example"
        self._line(self._styled(f"  {header}", "dim"))
        everything: list[float] = []
        for cause, count in deaths.counts.items():
            everything += deaths.latencies[cause]
            self._row(cause, count, deaths.latencies[cause], deaths.example.get(cause, ""))
        self._row("all", sum(deaths.counts.values()), everything, "")

    def verdict(self, checks: Sequence[Check]) -> int:
        """Returns the exit code."""
        self._section("The account")
        for check in checks:
            sign = self._styled("ok ", "green") if check.passed else self._styled("BAD", "red")
            self._line(f"  {sign}  {check.what:<10} {check.found}")
        passed = all(check.passed for check in checks)
        self._line("")
        self._line(self._styled("Every job exactly once." if passed else "The demo failed.", "bold"))
        return 0 if passed else 1

    def _section(self, title: str) -> None:
        self._line("")
        self._line(self._styled(f"{title} ".ljust(WIDTH, "─"), "cyan"))

    def _nodes(self, indent: str, nodes: Sequence[Mapping[str, Any]], told: Mapping[str, str]) -> None:
        for number, node in enumerate(nodes, 1):
            last = number == len(nodes)
            name = f"{indent}{'└─ ' if last else '├─ '}{node['id']}"
            kind = node.get("strategy") or (f"pid {node['pid']}" if node.get("pid") else "")
            restarts = node.get("restarts") or 0
            again = f"{restarts} restart{'s' if restarts != 1 else ''}" if restarts else ""
            state = node["state"].replace("_", " ")
            colour = {"running": "green", "completed": "dim"}.get(node["state"], "yellow")
            said = self._styled(told.get(node["path"], "")[:34], "dim")
            self._line(f"  {name:<19}{self._styled(f'{state:<10}', colour)}{kind:<13}{again:<13}{said}".rstrip())
            self._nodes(indent + ("   " if last else "│  "), node.get("children", []), told)

    def _row(self, cause: str, count: int, latencies: Sequence[float], example: str) -> None:
        example = example if len(example) <= 37 else example[:36] + "…"
        figures = f"{milliseconds(latencies, 0.5):>10}{milliseconds(latencies, 0.99):>10}"
        self._line(f"  {cause:<22}{count:>7}{figures}   {self._styled(example, 'dim')}".rstrip())

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{STYLES[style]}m{text}\x1b[0m" if self._colours and text else text

    def _line(self, text: str) -> None:
        print(text, file=self._out, flush=True)


def milliseconds(values: Sequence[float], quantile: float) -> str:
    """The nearest rank: a value that was measured, never one between two."""
    if not values:
        return "-"
    rank = max(0, math.ceil(quantile * len(values)) - 1)
    return f"{sorted(values)[rank] * 1e3:.1f} ms"
