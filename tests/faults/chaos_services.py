"""Services with moods: each lives for a moment and ends in a way that chance chooses."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading

from unirun import Service, ServiceContext

IN_PROCESS_ENDS = ("return", "raise", "exit", "silence", "log")
PROCESS_ENDS = (*IN_PROCESS_ENDS, "abort", "leave", "family")


class Moody(Service):
    """``config``: ``life`` (seconds, on average) and ``alone`` (whether the process is its own)."""

    def __init__(self) -> None:
        self.chance = random.Random(int.from_bytes(os.urandom(8), "little"))

    def run(self, context: ServiceContext) -> None:
        context.ready()
        while not context.cancellation.wait(self.life(context)):
            context.heartbeat()
            end = self.end(context)
            if end == "silence":
                context.cancellation.wait()
            elif end == "return":
                return

    async def run_async(self, context: ServiceContext) -> None:
        context.ready()
        while True:
            await asyncio.sleep(self.life(context))
            context.heartbeat()
            end = self.end(context)
            if end == "silence":
                await asyncio.Event().wait()
            elif end == "return":
                return

    def life(self, context: ServiceContext) -> float:
        life = float(context.config["life"])
        return min(self.chance.expovariate(1.0 / life), 4.0 * life)

    def end(self, context: ServiceContext) -> str:
        """Draws an end, and brings it about unless it takes an await."""
        end = self.chance.choice(PROCESS_ENDS if context.config.get("alone") else IN_PROCESS_ENDS)
        if end == "raise":
            raise RuntimeError(f"a mood in {threading.current_thread().name}")
        if end == "exit":
            sys.exit(self.chance.randrange(3))
        if end == "log":
            context.logger.info("still here")
        elif end == "abort":
            os.abort()
        elif end == "leave":
            os._exit(9)
        elif end == "family":
            subprocess.Popen(["sleep", "1000"], start_new_session=True)
        return end


async def census(context: ServiceContext) -> None:
    """Counts what in-process services may leave behind in the interpreter of their host."""
    tasks, threads = context.gauge("tasks"), context.gauge("threads")
    context.ready()
    while True:
        tasks.set(len(asyncio.all_tasks()))
        threads.set(threading.active_count())
        await asyncio.sleep(0.05)
