"""A service with pools of worker processes, one at rest and one at work, for the tests of faults."""

import asyncio
import os
import time
from concurrent.futures import Executor

from unirun import Run, Service, ServiceContext


def linger() -> None:
    time.sleep(3600)


class Lingering(Service):
    """Leaves a task in the thread of a pool that will not end."""

    def run(self, context: ServiceContext) -> None:
        self.leave(context)
        context.cancellation.wait()

    async def run_async(self, context: ServiceContext) -> None:
        self.leave(context)
        await asyncio.Event().wait()

    def leave(self, context: ServiceContext) -> None:
        self.pool: Executor = context.run(flavor="threads", max_workers=1).__enter__()
        self.pool.submit(linger)
        context.ready()


class Pooled(Service):
    """Tells its worker processes, and crashes once the file of its config is there."""

    def run(self, context: ServiceContext) -> None:
        self.open_pools(context)
        while not context.cancellation.wait(0.01):
            self.look(context)

    async def run_async(self, context: ServiceContext) -> None:
        await asyncio.to_thread(self.open_pools, context)
        while True:
            await asyncio.sleep(0.01)
            self.look(context)

    def open_pools(self, context: ServiceContext) -> None:
        self.resting: Executor = context.run(flavor="processes", max_workers=1).__enter__()
        self.busy: Executor = Run(flavor="processes", max_workers=1, name="busy").__enter__()
        pids = [pool.submit(os.getpid).result() for pool in (self.resting, self.busy)]
        self.busy.submit(linger)
        context.status(" ".join(map(str, pids)))
        context.ready()

    def look(self, context: ServiceContext) -> None:
        if os.path.exists(context.config["die"]):
            os.remove(context.config["die"])
            raise RuntimeError("as told")
