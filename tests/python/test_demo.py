"""The demo: its queue alone, its work alone, and the whole of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo import hashing
from demo.job_queue import Job, JobQueue

from worker_host import ROOT

NUMBER = 1000


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite"


@pytest.fixture
def queue(path: Path) -> Iterator[JobQueue]:
    with JobQueue(path) as queue:
        queue.put(Job(number, "file", 0, 1, "sha256") for number in range(1, NUMBER + 1))
        yield queue


def completions(queue: JobQueue) -> list[int]:
    return [count for *_, count in queue.results()]


def test_putting_jobs_again_changes_nothing(queue: JobQueue) -> None:
    batch = queue.claim(1, lease_seconds=60)
    queue.complete(batch, ["digest"], worker="one")
    queue.put([Job(1, "other", 5, 5, "md5")])
    assert queue.count() == NUMBER
    assert queue.results()[0] == (Job(1, "file", 0, 1, "sha256"), "digest", 1, 1)


def test_a_claimed_job_is_nobody_elses_until_its_lease_ends(queue: JobQueue) -> None:
    first = queue.claim(NUMBER, lease_seconds=60)
    assert len(first.jobs) == NUMBER
    assert queue.claim(NUMBER, lease_seconds=60).jobs == []


def test_who_comes_after_the_lease_is_refused(queue: JobQueue) -> None:
    late = queue.claim(10, lease_seconds=0)
    other = queue.claim(10, lease_seconds=60)
    assert [job.id for job in other.jobs] == [job.id for job in late.jobs]
    assert queue.complete(late, ["late"] * 10, worker="late") == 0
    assert queue.complete(other, ["mine"] * 10, worker="other") == 10
    assert queue.complete(other, ["again"] * 10, worker="other") == 0
    assert {digest for _, digest, *_ in queue.results()[:10]} == {"mine"}
    assert completions(queue)[:11] == [1] * 10 + [0]


def test_many_workers_do_every_job_once(queue: JobQueue, path: Path) -> None:
    def work(name: str) -> None:
        with JobQueue(path) as own:
            while (batch := own.claim(7, lease_seconds=60)).jobs:
                own.complete(batch, ["digest"] * len(batch.jobs), worker=name)

    threads = [threading.Thread(target=work, args=(f"worker-{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert completions(queue) == [1] * NUMBER
    assert sum(queue.shares().values()) == NUMBER


def test_jobs_cover_what_they_say() -> None:
    jobs = hashing.jobs(20_000)
    assert [job.id for job in jobs] == list(range(1, 20_001))
    assert all(job.length > 0 for job in jobs)
    assert len({(job.path, job.offset, job.algorithm) for job in jobs}) == 20_000
    assert len(hashing.digest(jobs[0])) == 64


@pytest.mark.slow
@pytest.mark.native
def test_the_whole_demo_holds(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "demo" / "run.py")],
        env={**os.environ, "UNIRUN_DEMO_FOLDER": str(tmp_path / "demo"), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "20,000 put, 20,000 done, 0 done twice, 0 missing" in ended.stdout
    assert max(len(line) for line in ended.stdout.splitlines()) <= 110
