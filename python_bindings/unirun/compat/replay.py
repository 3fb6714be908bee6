"""``python -m unirun.compat.replay RECORDING [RECORDING]``: the standard library against managed mode, call by call.

The recordings are those of `unirun.compat.record`, of one program in both modes, in one file or in two. Calls are
grouped by pool and function, and by arguments where those were recorded; for each group the outcomes are counted and
the times compared. Exit status: 0 where all outcomes are the same, 1 where not, 2 for what is no recording.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MODES = ("passthrough", "managed")
FIELDS = ("mode", "pool", "outcome", "seconds")


class NoRecording(ValueError):
    """A file, and what is wrong with it."""


@dataclass(slots=True)
class Calls:
    """What became of the calls of one group in one mode."""

    outcomes: Counter[str] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    standard: int = 0  # Of those, on the standard machinery.

    def at(self, share: float) -> float:
        """The time that ``share`` of the calls took at most, in seconds."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * share), len(ordered) - 1)] if ordered else 0.0


@dataclass(slots=True)
class Difference:
    """One group in both modes."""

    name: str
    standard: Calls
    managed: Calls

    @property
    def same(self) -> bool:
        """Whether the same came out as often."""
        return self.standard.outcomes == self.managed.outcomes

    @property
    def ratio(self) -> float:
        """How many times faster the median call is in managed mode."""
        return self.standard.at(0.5) / self.managed.at(0.5) if self.managed.at(0.5) else 0.0

    def as_dict(self) -> dict[str, Any]:
        sides = {"passthrough": self.standard, "managed": self.managed}
        return {"calls": self.name, "same": self.same, "times_faster": self.ratio} | {
            mode: {
                "outcomes": dict(calls.outcomes),
                "median_seconds": calls.at(0.5),
                "p99_seconds": calls.at(0.99),
                "standard_engine": calls.standard,
            }
            for mode, calls in sides.items()
        }


def read(paths: Iterable[str]) -> Iterator[dict[str, Any]]:
    """Every line of the files. Raises `NoRecording`, `OSError`."""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                try:
                    row = json.loads(line)
                    if missing := [name for name in FIELDS if name not in row]:
                        raise ValueError(f"it has no {', '.join(missing)}")
                    if row["mode"] not in MODES:
                        raise ValueError(f"mode {row['mode']!r} is not one of {', '.join(MODES)}")
                except (ValueError, TypeError) as error:
                    if not line.endswith("\n"):  # Its process ended in the middle.
                        continue
                    raise NoRecording(f"{path}:{number}: no line of a recording: {error}") from None
                yield row


def compare(rows: Iterable[dict[str, Any]]) -> list[Difference]:
    """Group by group, in the order of their names. Raises `NoRecording` where one of the modes is missing."""
    found: dict[str, dict[str, Calls]] = {}
    modes = set()
    for row in rows:
        modes.add(row["mode"])
        name = f"{row['pool']} {row.get('function', '?')}{row.get('arguments', '')}"
        calls = found.setdefault(name, {mode: Calls() for mode in MODES})[row["mode"]]
        calls.outcomes[" ".join(row[each] for each in ("outcome", "type") if each in row)] += 1
        calls.seconds.append(row["seconds"])
        calls.standard += row["mode"] == "managed" and row.get("engine") == "standard"
    for mode in MODES:
        if mode not in modes:
            raise NoRecording(f"no call was recorded with UNIRUN_COMPAT_MODE={mode}: record the program in both modes")
    return [Difference(name, *(sides[mode] for mode in MODES)) for name, sides in sorted(found.items())]


def render(differences: Sequence[Difference]) -> str:
    """What is to be read by people."""
    lines = []
    for each in differences:
        lines.append(f"{'same   ' if each.same else 'DIFFERS'}  {each.name}")
        for mode, calls in (("standard", each.standard), ("managed", each.managed)):
            outcomes = ", ".join(f"{count} x {outcome}" for outcome, count in sorted(calls.outcomes.items())) or "none"
            engine = f", {calls.standard} on the standard machinery" if calls.standard else ""
            times = f"median {calls.at(0.5) * 1e3:.3f} ms, p99 {calls.at(0.99) * 1e3:.3f} ms"
            lines.append(f"  {mode:8}  {outcomes}; {times}{engine}")
        if each.ratio:
            lines.append(f"  {'':8}  the median call is {each.ratio:.2f} times as fast")
    differing = sum(not each.same for each in differences)
    lines.append(f"{len(differences)} kinds of calls, {differing} with other outcomes")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m unirun.compat.replay", description="Compare two recordings.")
    parser.add_argument("recordings", nargs="+", metavar="RECORDING", help="a file of UNIRUN_COMPAT_RECORD")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--slower", type=float, metavar="FACTOR", help="also fail where the median call takes more than FACTOR times"
    )
    given = parser.parse_args(arguments)
    try:
        differences = compare(read(given.recordings))
    except OSError as error:
        print(f"replay: {error.filename}: {error.strerror}", file=sys.stderr)
        return 2
    except NoRecording as error:
        print(f"replay: {error}", file=sys.stderr)
        return 2
    print(json.dumps([each.as_dict() for each in differences], indent=1) if given.json else render(differences))
    slow = given.slower and any(each.ratio and each.ratio * given.slower < 1 for each in differences)
    return int(bool(slow) or not all(each.same for each in differences))


if __name__ == "__main__":
    sys.exit(main())
