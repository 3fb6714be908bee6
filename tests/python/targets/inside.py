"""Services that behave badly inside the host, or look at what they share with it."""

import asyncio
import subprocess
import threading
import time

from unirun import Cancelled, Service


class Metered(Service):
    def run(self, context):
        context.counter("lives").add(1)
        context.gauge("depth").set(7)
        context.ready()
        context.cancellation.wait()

    async def run_async(self, context):
        context.counter("lives").add(1)
        context.gauge("depth").set(7)
        context.ready()
        await asyncio.sleep(3600)


class Watches(Service):
    """Tells how its sibling ended."""

    def run(self, context):
        deaths = context.events.iterate(kinds=["service_exited"])
        context.ready()
        for event in deaths:
            if event.path == context.config["sibling"]:
                context.status(f"saw {event.reason.kind}")
        context.status("no more events")

    async def run_async(self, context):
        deaths = context.events.iterate_async(kinds=["service_exited"])
        context.ready()
        async for event in deaths:
            if event.path == context.config["sibling"]:
                context.status(f"saw {event.reason.kind}")


def subscribes_and_forgets(context):
    context.events.subscribe(lambda event: None)
    context.ready()


def dies_when_told(context):
    context.ready()
    context.cancellation.wait(0.05)
    raise LookupError("told so")


async def computes_for_ever(context):
    context.ready()
    await asyncio.sleep(0)
    while True:
        pass


async def waits_somewhere(context):
    context.ready()
    await deeper()


async def deeper():
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass


def ignores_its_token(context):
    """Ends by what is raised in it, and tells whether anything else was struck."""
    try:
        context.ready()  # It may be struck from here on.
        while True:
            time.sleep(0.001)
    except Cancelled:
        context.status("struck")
        raise


def tells_its_thread(context):
    with open(f"/proc/self/task/{threading.get_native_id()}/comm") as file:
        context.status(f"{file.read().strip()} {threading.current_thread().name}")
    context.ready()
    context.cancellation.wait()


def ends_a_process(context):
    process = subprocess.Popen(["sleep", "1000"])
    process.terminate()
    context.status(f"returned {process.wait(10)}")
    context.ready()
    context.cancellation.wait()


async def ends_a_process_on_the_loop(context):
    process = await asyncio.create_subprocess_exec("sleep", "1000")
    process.terminate()
    context.status(f"returned {await process.wait()}")
    context.ready()
    await asyncio.sleep(3600)


async def leaves_a_task(context):
    context.task = asyncio.create_task(asyncio.sleep(3600), name="left behind")
    context.ready()
    await asyncio.sleep(3600)


def starts_threads(context):
    context.ready()
    while True:
        thread = threading.Thread(target=int)
        thread.start()
        thread.join()


async def starts_threads_on_the_loop(context):
    context.ready()
    await asyncio.sleep(0)
    starts_threads(context)
