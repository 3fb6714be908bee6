"""The services of the conformance suite: each runs unchanged under every executor.

`Living` says ready, acts, and lives until it is asked to stop; a fault is one `act`.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

from unirun import Ignore, Service, ServiceContext, events


class Living(Service):
    def act(self, context: ServiceContext) -> None:
        """What it does between its birth and its rest: nothing."""

    def begin(self, context: ServiceContext) -> None:
        context.ready()
        self.act(context)

    def run(self, context: ServiceContext) -> None:
        self.begin(context)
        context.cancellation.wait()

    async def run_async(self, context: ServiceContext) -> None:
        self.begin(context)
        await asyncio.Event().wait()


def living_function(context: ServiceContext) -> None:
    context.ready()
    context.cancellation.wait()


async def living_coroutine(context: ServiceContext) -> None:
    context.ready()
    await asyncio.Event().wait()


# ---- Ends ----


class Returning(Living):
    def run(self, context: ServiceContext) -> None:
        context.ready()

    async def run_async(self, context: ServiceContext) -> None:
        context.ready()


class Raising(Living):
    def act(self, context: ServiceContext) -> None:
        raise ValueError("no such job")


class Exiting(Living):
    """Ends with the exit code that its config names."""

    def act(self, context: ServiceContext) -> None:
        sys.exit(context.config["code"])


class Declining(Living):
    def run(self, context: ServiceContext) -> None:
        raise Ignore

    async def run_async(self, context: ServiceContext) -> None:
        raise Ignore


# ---- Starts that fail ----


class FailingInit(Living):
    def __init__(self) -> None:
        raise RuntimeError("no room in here")


class NeverReady(Living):
    def run(self, context: ServiceContext) -> None:
        context.cancellation.wait()

    async def run_async(self, context: ServiceContext) -> None:
        await asyncio.Event().wait()


not_callable = 42


# ---- Faults ----


class Aborting(Living):
    def act(self, context: ServiceContext) -> None:
        os.abort()


class Segfaulting(Living):
    def act(self, context: ServiceContext) -> None:
        ctypes.string_at(0)


class LeavingAtOnce(Living):
    """Ends the process behind the back of everything."""

    def act(self, context: ServiceContext) -> None:
        os._exit(5)


class Silent(Living):
    """Beats once, and no more."""

    def act(self, context: ServiceContext) -> None:
        context.heartbeat()


class Beating(Living):
    """Beats for as long as it lives."""

    def run(self, context: ServiceContext) -> None:
        context.ready()
        while not context.cancellation.wait(0.01):
            context.heartbeat()

    async def run_async(self, context: ServiceContext) -> None:
        context.ready()
        while True:
            context.heartbeat()
            await asyncio.sleep(0.01)


class Deaf(Living):
    """Hears no request to stop, and swallows what is thrown at it."""

    def run(self, context: ServiceContext) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        context.ready()
        while True:
            try:
                while True:
                    time.sleep(0.02)
            except BaseException:
                continue

    async def run_async(self, context: ServiceContext) -> None:
        context.ready()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue


class Greedy(Living):
    """Asks for more memory than its limit allows."""

    def act(self, context: ServiceContext) -> None:
        hoard = []
        while True:
            hoard.append(bytearray(16 << 20))


class Closing(Living):
    """Closes every descriptor that it does not know: its control channel too."""

    def act(self, context: ServiceContext) -> None:
        os.closerange(3, 256)


class Flooding(Living):
    def act(self, context: ServiceContext) -> None:
        line = "x" * 200
        for number in range(20_000):
            print(number, line)
        print("the last line", flush=True)


class Forking(Living):
    """Leaves a child that would live for long."""

    def act(self, context: ServiceContext) -> None:
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        context.status(f"forked {child.pid}")


class Blocking(Living):
    """Holds its thread, and with it a loop that it shares, for as long as its config says."""

    def begin(self, context: ServiceContext) -> None:
        context.ready()  # It may be found to be silent from here on.
        time.sleep(context.config["seconds"])


# ---- What a context can do ----


class Speaking(Living):
    def act(self, context: ServiceContext) -> None:
        context.status("busy with the first")
        context.logger.warning("odd: %d", 7)


class Working(Living):
    """Gives work to a pool of its own."""

    def act(self, context: ServiceContext) -> None:
        with context.run(flavor="threads") as pool:
            context.status(f"sum {sum(pool.map(abs, [-1, -2, -3]))}")


class Counting(Living):
    def act(self, context: ServiceContext) -> None:
        context.counter("jobs").add(3)
        context.gauge("depth").set(7)


class Observing(Living):
    """Tells how the service died that its config names."""

    def run(self, context: ServiceContext) -> None:
        deaths = context.events.iterate(kinds=[events.ServiceExited])
        context.ready()
        while not self.tells_of(context, next(deaths)):
            pass
        context.cancellation.wait()

    async def run_async(self, context: ServiceContext) -> None:
        deaths = context.events.iterate_async(kinds=[events.ServiceExited])
        context.ready()
        while not self.tells_of(context, await anext(deaths)):
            pass
        await asyncio.Event().wait()

    def tells_of(self, context: ServiceContext, death: events.Event) -> bool:
        assert isinstance(death, events.ServiceExited)
        if death.path != context.config["whom"]:
            return False
        context.status(f"{death.path} died: {death.reason.kind}")
        return True


class Configured(Living):
    def act(self, context: ServiceContext) -> None:
        context.status(f"{context.path} {context.id} {context.config['batch']}")
