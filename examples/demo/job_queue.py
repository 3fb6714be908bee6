"""A durable queue in one SQLite file, with leases.

A job is claimed for some seconds. Who completes it within them has done it; who does not (for it
has crashed, hangs, or was killed) has lost it, and another one claims it. Whatever dies at whatever
instant: every job is completed exactly once, and the table ``completions`` shows it.
"""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  id INTEGER PRIMARY KEY,
  path TEXT NOT NULL, offset INTEGER NOT NULL, length INTEGER NOT NULL, algorithm TEXT NOT NULL,
  done INTEGER NOT NULL DEFAULT 0,
  lease TEXT,                           -- of its last claim
  leased_until REAL NOT NULL DEFAULT 0, -- seconds of the monotonic clock, which all processes share
  claims INTEGER NOT NULL DEFAULT 0,
  digest TEXT
) STRICT;
-- What is open is found without passing what is done.
CREATE INDEX IF NOT EXISTS open_jobs ON jobs (id) WHERE done = 0;
-- One row for each completion that was accepted. Nothing here keeps a job from being there twice: a
-- queue that did it twice would show.
CREATE TABLE IF NOT EXISTS completions (job INTEGER NOT NULL, worker TEXT NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of a file and the algorithm to hash it with."""

    id: int
    path: str
    offset: int
    length: int
    algorithm: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs claimed together; ``lease`` is the proof."""

    lease: str
    jobs: Sequence[Job]


class JobQueue:
    """One connection to the queue. Each process opens its own."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, timeout=30, isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(SCHEMA)

    def put(self, jobs: Iterable[Job]) -> None:
        """Add jobs. Those that are there already stay as they are: a producer may start again."""
        rows = [(job.id, job.path, job.offset, job.length, job.algorithm) for job in jobs]
        with self._transaction():
            self._database.executemany(
                "INSERT OR IGNORE INTO jobs (id, path, offset, length, algorithm) VALUES (?, ?, ?, ?, ?)", rows
            )

    def count(self) -> int:
        """How many jobs were ever put."""
        return int(self._database.execute("SELECT count(*) FROM jobs").fetchone()[0])

    def open(self) -> int:
        """How many jobs are not done yet."""
        return int(self._database.execute("SELECT count(*) FROM jobs WHERE done = 0").fetchone()[0])

    def claim(self, limit: int, *, lease_seconds: float) -> Batch:
        """Take up to ``limit`` jobs that nobody holds, or whose holder has run out of time."""
        lease = uuid.uuid4().hex
        now = time.monotonic()
        with self._transaction():
            rows = self._database.execute(
                """UPDATE jobs SET lease = ?, leased_until = ?, claims = claims + 1
                   WHERE id IN (SELECT id FROM jobs WHERE done = 0 AND leased_until < ? ORDER BY id LIMIT ?)
                   RETURNING id, path, offset, length, algorithm""",
                (lease, now + lease_seconds, now, limit),
            ).fetchall()
        return Batch(lease, [Job(*row) for row in rows])

    def complete(self, batch: Batch, digests: Sequence[str], *, worker: str) -> int:
        """Hand in the results of a batch. Returns how many were still ours to hand in."""
        accepted = 0
        with self._transaction():
            for job, digest in zip(batch.jobs, digests, strict=True):
                ours = self._database.execute(
                    "UPDATE jobs SET done = 1, digest = ? WHERE id = ? AND lease = ? AND done = 0",
                    (digest, job.id, batch.lease),
                ).rowcount
                if ours:
                    self._database.execute("INSERT INTO completions VALUES (?, ?)", (job.id, worker))
                    accepted += 1
        return accepted

    def results(self) -> list[tuple[Job, str | None, int, int]]:
        """Every job with its digest, how often it was claimed, and how often it was completed."""
        rows = self._database.execute(
            """SELECT id, path, offset, length, algorithm, digest, claims, count(completions.job)
               FROM jobs LEFT JOIN completions ON completions.job = jobs.id GROUP BY id ORDER BY id"""
        )
        return [(Job(*row[:5]), *row[5:]) for row in rows]

    def shares(self) -> dict[str, int]:
        """How many jobs each worker completed."""
        rows = self._database.execute("SELECT worker, count(*) FROM completions GROUP BY worker ORDER BY worker")
        return dict(rows.fetchall())

    def _transaction(self) -> _Transaction:
        return _Transaction(self._database)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


class _Transaction:
    """Takes the right to write at its beginning: two who read first could not both write then."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._database.execute("COMMIT" if exc_type is None else "ROLLBACK")
