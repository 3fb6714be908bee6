"""Services that give work to pools of their own, blocking and as coroutines."""

import asyncio
import logging
import os
import threading
import time
from concurrent.futures import wait
from multiprocessing import current_process

from unirun import Run, Service


def where(_=None):
    """The names of this thread and of this process, and its number."""
    return threading.current_thread().name, current_process().name, os.getpid()


def kernel_name():
    with open("/proc/self/comm", encoding="utf-8") as comm:
        return comm.read().strip()


def fail():
    raise LookupError("no such task")


def linger():
    time.sleep(3600)


def die():
    os._exit(9)


class Pooled(Service):
    """Does what `act` says, and then waits for its end."""

    def act(self, context):
        raise NotImplementedError

    def run(self, context):
        self.act(context)
        context.ready()
        context.cancellation.wait()

    async def run_async(self, context):
        self.act(context)
        context.ready()
        await asyncio.Event().wait()


class Named(Pooled):
    def act(self, context):
        flavor = context.config["flavor"]
        run = Run if context.config["plain"] else context.run
        with run(flavor=flavor, max_workers=1) as pool:
            thread, process, _ = pool.submit(where).result()
            kernel = pool.submit(kernel_name).result() if flavor == "processes" else ""
        with run(flavor=flavor, max_workers=1, name="resize") as pool:
            other = pool.submit(where).result()
        one_of_them = 1 if flavor == "processes" else 0
        context.status(" ".join([(thread, process)[one_of_them], other[one_of_them], kernel]))


class Counting(Pooled):
    """Six tasks: three return, one raises, one is cancelled, one lingers while four wait for it."""

    def act(self, context):
        flavor = context.config["flavor"]
        with context.run(flavor=flavor, max_workers=1) as pool:
            wait([pool.submit(where) for _ in range(3)] + [pool.submit(fail)])
        self.pool = context.run(flavor="threads", max_workers=1).__enter__()
        self.pool.submit(context.cancellation.wait)
        for _ in range(4):
            self.pool.submit(where)
        self.pool.submit(where).cancel()


class Crashing(Pooled):
    """Opens a pool in each life, and dies once its config's file is there."""

    def act(self, context):
        self.pool = context.run(flavor=context.config["flavor"], max_workers=1).__enter__()
        self.pool.submit(where).result()

    def run(self, context):
        self.act(context)
        context.ready()
        while not context.cancellation.wait(0.01):
            self.look(context)

    async def run_async(self, context):
        self.act(context)
        context.ready()
        while True:
            await asyncio.sleep(0.01)
            self.look(context)

    def look(self, context):
        if os.path.exists(context.config["die"]):
            os.remove(context.config["die"])
            raise RuntimeError("as told")


class Leaving(Pooled):
    """Leaves a pool open whose worker is at work, tells which process that is, and ends as its config says."""

    def act(self, context):
        flavor = context.config["flavor"]
        self.pool = context.run(flavor=flavor, max_workers=1).__enter__()
        thread, _, pid = self.pool.submit(where).result()
        if flavor == "processes":
            self.pool.submit(linger)
        self.behind = [self.pool.submit(where) for _ in range(10)]
        context.status(f"{pid} {thread}")
        context.ready()

    def run(self, context):
        self.act(context)
        if context.config["ends"] == "stop":
            context.cancellation.wait()
        self.end(context)

    async def run_async(self, context):
        self.act(context)
        if context.config["ends"] == "stop":
            await asyncio.Event().wait()
        self.end(context)

    def end(self, context):
        if context.config["ends"] == "raise":
            raise RuntimeError("as told")


class Waiting(Service):
    """Waits for a worker process that never answers, and hears nothing of a stop."""

    def run(self, context):
        with context.run(flavor="processes", max_workers=1) as pool:
            context.status(str(pool.submit(os.getpid).result()))
            context.ready()
            pool.submit(linger).result()

    async def run_async(self, context):
        loop = asyncio.get_running_loop()
        async with context.run(flavor="processes", max_workers=1) as pool:
            context.status(str(await loop.run_in_executor(pool, os.getpid)))
            context.ready()
            await loop.run_in_executor(pool, linger)


class Nesting(Pooled):
    """Opens a scope in the thread of a pool, and one within that: three tasks in two pools."""

    def act(self, context):
        def within():
            logging.getLogger("deep").warning("within")
            with Run(flavor="threads") as pool, Run(flavor="threads") as same:
                assert same is pool
                return pool.submit(where).result()[0], same.submit(where).result()[0]

        with context.run(flavor="threads", max_workers=1, name="outer") as pool:
            context.status(" ".join(pool.submit(within).result()))


class Resting(Pooled):
    """Has a pool that rests, or one with a task that goes on and on."""

    def act(self, context):
        self.pool = context.run(flavor=context.config["flavor"], max_workers=1).__enter__()
        self.pool.submit(where).result()
        if context.config["busy"]:
            self.pool.submit(linger)


def many(context):
    with context.run(flavor="threads", max_workers=2) as pool:
        for _ in range(context.config["count"]):
            pool.submit(int)
