"""Puts the jobs into the queue, some every moment, and ends when all are in."""

from __future__ import annotations

from demo import hashing
from demo.job_queue import JobQueue
from demo.places import QUEUE
from unirun import Service, ServiceContext

PAUSE = 0.1  # Seconds between two portions.


class Producer(Service):
    """A transient service: its normal end completes it, a crash would start it again."""

    def run(self, context: ServiceContext) -> None:
        jobs = hashing.jobs(context.config["jobs"])
        portion = max(1, round(len(jobs) * PAUSE / context.config["seconds"]))
        with JobQueue(QUEUE) as queue:
            first = queue.count()  # What an earlier life has put is not put again.
            context.ready()
            for begin in range(first, len(jobs), portion):
                queue.put(jobs[begin : begin + portion])
                context.status(f"{min(begin + portion, len(jobs)):,} of {len(jobs):,} jobs put")
                if context.cancellation.wait(PAUSE):
                    return
        context.logger.info("all %d jobs are in the queue", len(jobs))
