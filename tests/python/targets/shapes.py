"""Services of every shape, for test_four_executors.py: the same code under each executor that can carry it."""

import asyncio
import os
import sys
import threading
import time

from unirun import Cancelled, Ignore, Service


def greet(context):
    context.logger.warning("hello from %s", context.config["who"], extra={"job": 7})
    context.status(f"serving {context.config['who']} with {list(context.arguments)}")
    context.heartbeat()
    context.ready()


def function(context, *_):
    greet(context)
    context.cancellation.wait()


async def coroutine(context, *_):
    greet(context)
    await asyncio.Event().wait()


class Blocking(Service):
    def run(self, context):
        greet(context)
        while not context.cancellation.wait(3600):
            pass


class Awaiting(Service):
    async def run_async(self, context):
        greet(context)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            context.status("saw CancelledError")
            raise


class Either(Service):
    def run(self, context):
        greet(context)
        context.cancellation.wait()

    async def run_async(self, context):
        greet(context)
        await asyncio.sleep(3600)


class FailsInInit(Service):
    def __init__(self):
        raise ValueError("no device")

    async def run_async(self, context):
        context.ready()


not_callable = 42


class NotAService:
    pass


def returns_at_once(context):
    context.ready()


async def returns_at_once_async(context):
    context.ready()


def raises(context):
    context.ready()
    deeper()


async def raises_async(context):
    context.ready()
    await asyncio.sleep(0)
    deeper()


def deeper():
    raise LookupError("no such job")


def exits(context):
    context.ready()
    sys.exit(context.config["code"])


async def exits_async(context):
    context.ready()
    sys.exit(context.config["code"])


def declines(context):
    raise Ignore


async def declines_async(context):
    raise Ignore


def ends_the_process(context):
    context.ready()
    os._exit(7)


async def ends_the_process_async(context):
    context.ready()
    os._exit(7)


def knows_nothing_of_stops():
    while True:
        time.sleep(0.001)


def swallows_exceptions_once(context):
    context.ready()
    try:
        while True:
            time.sleep(0.001)
    except Cancelled:
        context.status(f"struck in {threading.current_thread().name}")
        raise


async def blocks_its_loop(context):
    """From the moment on when it is ready: that is when its beats are missed first."""
    context.ready()
    time.sleep(3600)


async def idles(context):
    context.ready()
    await asyncio.sleep(3600)


async def uses_asyncio(context):
    """What people write for asyncio: tasks, threads, streams, subprocesses."""

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async with asyncio.TaskGroup() as group:
        number = group.create_task(asyncio.to_thread(sum, [1, 2, 3]))
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"over and out\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
    process = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    context.status(f"{number.result()} {line.decode().strip()} {out.decode().strip()} {process.returncode}")
    context.ready()
    await asyncio.sleep(3600)


def runs_subprocesses(context):
    import subprocess

    context.ready()
    codes = [subprocess.run(["sh", "-c", "exit 7"], check=False).returncode for _ in range(200)]
    context.status(f"{codes.count(7)} times 7")
    context.cancellation.wait()


def spins_for_ever(context):
    while True:
        try:
            context.ready()  # It may be struck from here on.
            while True:
                pass
        except BaseException:
            pass


def sleeps_for_ever(context):
    while True:
        try:
            context.ready()  # It may be struck from here on.
            time.sleep(3600)
        except BaseException:
            pass
