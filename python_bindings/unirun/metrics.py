"""`Metrics`: what became of the tasks of a scope, and how long they waited and ran."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds, counted in buckets that double: exact in number and sum, within a factor of two in between."""

    count: int = 0
    sum: float = 0.0
    max: float = 0.0
    """The longest."""

    buckets: tuple[tuple[float, int], ...] = ()
    """Upper bound and number of each bucket, the shortest first."""

    @property
    def mean(self) -> float:
        """0 where nothing was counted."""
        return self.sum / self.count if self.count else 0.0

    def quantile(self, share: float) -> float:
        """What this share of all did not exceed, to its bucket: ``quantile(0.99)``. 0 where nothing was counted."""
        if not 0 <= share <= 1:
            raise ValueError(f"quantile: {share!r} is not within 0 and 1")
        total = sum(number for _, number in self.buckets)
        counted = 0
        for bound, number in self.buckets:
            counted += number
            if number and counted >= share * total:
                return min(bound, self.max)
        return 0.0


@dataclass(frozen=True, slots=True)
class Metrics:
    """A moment of a scope. Every submitted task is in one of the next five counts."""

    submitted: int
    completed: int
    """Ended with a result."""
    failed: int
    """Ended with an exception."""
    cancelled: int
    queued: int
    running: int
    workers: int
    wait_seconds: Times = Times()
    """From ``submit`` to the start. Reckoned for classes that do not tell it, and where scopes share an executor."""
    run_seconds: Times = Times()
    """From the start to the end. Reckoned likewise."""

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values, for JSON."""
        return asdict(self)

    def plot(self, path: str) -> None:
        """Draw the wait and run times into ``path``: an SVG, or a PNG where matplotlib is installed.

        Raises `ValueError` for another suffix, `ImportError` without matplotlib, `OSError` if it cannot be written.
        """
        from unirun.plots import Histogram, draw

        draw(
            path,
            f"{self.submitted} tasks: {self.completed} completed, {self.failed} failed, {self.cancelled} cancelled",
            [
                Histogram("waited", self.wait_seconds.buckets),
                Histogram("ran", self.run_seconds.buckets),
            ],
        )

    @classmethod
    def of(cls, statistics: Mapping[str, Any]) -> Metrics:
        """From what an executor's ``_statistics()`` says."""
        counts = {name: statistics[name] for name in COUNTS}
        wait, ran = (_times(statistics[name]) for name in ("wait_seconds", "run_seconds"))
        return cls(**counts, wait_seconds=wait, run_seconds=ran)


COUNTS = ("submitted", "completed", "failed", "cancelled", "queued", "running", "workers")


def _times(said: Mapping[str, Any]) -> Times:
    buckets = tuple((float(bound), int(number)) for bound, number in said["buckets"])
    return Times(said["count"], said["sum"], said["max"], buckets)
