"""Services that count, log and observe, for the tests of metrics, logs, events and forensics."""

import asyncio
import logging
import os
import signal
import sys
import time

from unirun import Cancelled, Service
from unirun.events import ServiceExited, ServiceStarted


def counts(context):
    done = context.counter("done")
    for _ in range(context.config["times"]):
        done.add()
    context.counter("bytes").add(0.5)
    for depth in (3, 1, 2):
        context.gauge("depth").set(depth)


def counts_and_rests(context):
    context.counter("done").add()
    context.cancellation.wait()


def counts_in_a_fork(context):
    counter = context.counter("done")
    counter.add(1)
    pid = os.fork()
    if pid == 0:
        counter.add(1000)
        os._exit(0)
    os.waitpid(pid, 0)


def counts_in_a_signal_handler(context):
    counter = context.counter("done")
    signal.signal(signal.SIGALRM, lambda *_: counter.add(0))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    for _ in range(100_000):
        counter.add()
    signal.setitimer(signal.ITIMER_REAL, 0)


class Metered(Service):
    """Counts once a life, and dies when its config says so."""

    def run(self, context):
        context.counter("lives").add()
        context.gauge("depth").set(7)
        context.status("counting sheep")
        context.ready()
        while not context.cancellation.wait(0.01):
            if os.path.exists(context.config["die"]):
                os.remove(context.config["die"])
                raise RuntimeError("as told")


def logs(context):
    logger = logging.getLogger("app.part")
    logger.debug("too low")
    logger.warning("job %s is late", 7, extra={"job": 7, "tags": ["a"]})
    try:
        raise ValueError("no such job")
    except ValueError:
        logger.exception("it failed")
    context.logger.error("mine")


def observes_without_a_socket(context):
    context.events.subscribe(print)


class ByCallback(Service):
    """Tells in a file what it saw of its sibling."""

    def run(self, context):
        with open(context.config["file"], "w", buffering=1) as file:
            seen = context.events.subscribe(lambda event: print(event.kind, event.path, file=file))
            context.ready()
            context.cancellation.wait()
            seen.close()


class ByIterator(Service):
    def run(self, context):
        seen = context.events.iterate(kinds=[ServiceStarted, ServiceExited])
        context.ready()
        for event in seen:
            if event.path == context.config["sibling"] and isinstance(event, ServiceExited):
                context.status(f"{event.path} ended: {event.reason.exception.message}")


class ByAsyncFor(Service):
    async def run_async(self, context):
        seen = context.events.iterate_async(kinds=["service_exited"])
        context.ready()
        async for event in seen:
            if event.path == context.config["sibling"]:
                context.status(f"{event.path} ended: {event.reason.exception.message}")
                break
        await asyncio.sleep(3600)


class Sequences(Service):
    """Writes down the number of every event."""

    def run(self, context):
        with open(context.config["file"], "w", buffering=1) as file:
            seen = iter(context.events)
            context.ready()
            for event in seen:
                print(event.sequence, event.kind, event.path, file=file)


# ---- Deaths ----


class Dying(Service):
    """Dies as its config says, once: then it lives."""

    def run(self, context):
        flag = context.config["file"]
        if os.path.exists(flag):
            context.ready()
            while not context.cancellation.wait(0.02):
                context.heartbeat()
            return
        open(flag, "w").close()
        print("last words", flush=True)
        ballast = b"x" * (context.config.get("mebibytes", 0) << 20)
        getattr(self, context.config["how"])(context)
        del ballast

    def raises(self, context):
        context.ready()
        raise ValueError("no such job")

    def segfaults(self, context):
        import faulthandler

        context.ready()
        faulthandler._sigsegv()

    def exits(self, context):
        context.ready()
        sys.exit(7)

    def kills_itself(self, context):
        context.ready()
        os.kill(os.getpid(), signal.SIGKILL)

    def hangs(self, context):
        context.ready()  # From here on it may be ended for its silence.
        time.sleep(3600)

    def logs_and_raises(self, context):
        context.ready()
        context.logger.error("it gets worse")
        raise Cancelled
