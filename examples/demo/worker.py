"""Takes jobs in batches and hashes them; each of the four has a fault of its own.

A fault strikes at the worst moment: the work is done and not yet handed in. It is lost then, and
another worker does it again once the lease has run out.
"""

from __future__ import annotations

import faulthandler
import random
import time
from collections.abc import Callable

from demo import hashing
from demo.job_queue import JobQueue
from demo.places import QUEUE
from unirun import Service, ServiceContext

PAUSE = 0.05  # Seconds until an idle worker looks again.


class UnreadableChunkError(Exception):
    """What the first worker dies of."""


class Worker(Service):
    def run(self, context: ServiceContext) -> None:
        config = context.config
        fault = FAULTS[config["faults"][(context.instance or 1) - 1]]
        # Counted in batches, not in time: one that was idle for long must not die of its next one.
        batches_left = random.randint(*config["fault_after"])
        done = 0
        with JobQueue(QUEUE) as queue:
            context.ready()
            while not context.cancellation.is_cancellation_requested:
                context.heartbeat()
                batch = queue.claim(config["batch"], lease_seconds=config["lease_seconds"])
                if not batch.jobs:
                    context.cancellation.wait(PAUSE)
                    continue
                digests = [hashing.digest(job) for job in batch.jobs]
                batches_left -= 1
                if batches_left == 0:
                    fault()
                done += queue.complete(batch, digests, worker=context.id)
                context.status(f"{done:,} jobs done in this life")


def raises() -> None:
    raise UnreadableChunkError("a torn chunk")


def segfaults() -> None:
    faulthandler._sigsegv()  # type: ignore[attr-defined]  # A real one: it writes to address 0.


def hangs() -> None:
    time.sleep(3600)


def nothing() -> None:
    """The fourth has no fault: the chaos service kills it from outside."""


FAULTS: dict[str, Callable[[], None]] = {
    "exception": raises,
    "segfault": segfaults,
    "hang": hangs,
    "none": nothing,
}
