"""The work itself: hash a piece of one of the project's files."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count, islice

from demo.job_queue import Job
from demo.places import PROJECT, source_files

ALGORITHMS = ("sha256", "sha512", "sha3_256", "blake2b")


def jobs(number: int) -> list[Job]:
    """``number`` jobs over all source files: the larger the number, the smaller the pieces."""
    sizes = [(path.relative_to(PROJECT).as_posix(), path.stat().st_size) for path in source_files()]
    total = sum(size for _, size in sizes)
    piece = max(1, total * len(ALGORITHMS) // number)
    while True:  # Files end with a part of a piece, so a first guess gives enough or a few more.
        found = list(islice(_pieces(sizes, piece), number))
        if len(found) == number:
            return found
        piece = piece * 9 // 10


def _pieces(sizes: list[tuple[str, int]], piece: int) -> Iterator[Job]:
    ids = count(1)
    for algorithm in ALGORITHMS:
        for path, size in sizes:
            for offset in range(0, size, piece):
                yield Job(next(ids), path, offset, min(piece, size - offset), algorithm)


def digest(job: Job) -> str:
    """The digest of the piece that ``job`` names."""
    with open(PROJECT / job.path, "rb") as file:
        file.seek(job.offset)
        return hashlib.new(job.algorithm, file.read(job.length)).hexdigest()
