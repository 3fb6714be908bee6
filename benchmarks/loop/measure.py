#!/usr/bin/env python3
"""One side of ../loop.py: an asyncio program on the loop that it is told, one JSON line a metric.

usage: measure.py default|unirun
"""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

clock = time.perf_counter


def tell(metric: str, value: float, unit: str) -> None:
    print(json.dumps({"metric": metric, "value": value, "unit": unit}), flush=True)


async def call_soon_batches(count: int = 300_000, batch: int = 100) -> float:
    """Callbacks in batches of a hundred: what a busy loop does in one iteration."""
    loop = asyncio.get_running_loop()
    left = count // batch
    done = loop.create_future()

    def nothing() -> None:
        pass

    def next_batch() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            done.set_result(None)
            return
        for _ in range(batch - 1):
            loop.call_soon(nothing)
        loop.call_soon(next_batch)

    start = clock()
    next_batch()
    await done
    return count / (clock() - start)


async def call_soon_single(count: int = 100_000) -> float:
    """A callback that calls the next one: an iteration each."""
    loop = asyncio.get_running_loop()
    left = count
    done = loop.create_future()

    def again() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(again)
        else:
            done.set_result(None)

    start = clock()
    again()
    await done
    return count / (clock() - start)


async def sleep_zero(count: int = 200_000, tasks: int = 10) -> float:
    async def steps() -> None:
        for _ in range(count // tasks):
            await asyncio.sleep(0)

    start = clock()
    await asyncio.gather(*(steps() for _ in range(tasks)))
    return count / (clock() - start)


async def gather_tasks(count: int = 100_000, at_once: int = 100) -> float:
    async def nothing() -> None:
        pass

    start = clock()
    for _ in range(count // at_once):
        await asyncio.gather(*(nothing() for _ in range(at_once)))
    return count / (clock() - start)


async def start_and_cancel_timers(count: int = 200_000) -> float:
    loop = asyncio.get_running_loop()

    def never() -> None:
        raise AssertionError

    start = clock()
    for i in range(count):
        loop.call_later(60, never).cancel()
        if i % 100 == 0:
            await asyncio.sleep(0)
    return count / (clock() - start)


async def burst_from_a_thread(count: int = 200_000) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    seen = 0

    def arrive() -> None:
        nonlocal seen
        seen += 1
        if seen == count:
            done.set_result(None)

    def burst() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(arrive)

    thread = threading.Thread(target=burst)
    start = clock()
    thread.start()
    await done
    rate = count / (clock() - start)
    thread.join()
    return rate


async def timer_lateness(count: int = 300) -> list[float]:
    loop = asyncio.get_running_loop()
    late = []
    for i in range(count):
        due = loop.time() + 0.0021 + i * 1e-6
        fired: asyncio.Future[None] = loop.create_future()
        at = [0.0]

        def fire(fired: asyncio.Future[None], at: list[float]) -> None:
            at[0] = loop.time()
            fired.set_result(None)

        loop.call_at(due, fire, fired, at)
        await fired
        late.append((at[0] - due) * 1e6)
    return late


# ---- TCP echo: the clients are threads of plain sockets in another process ----

CLIENT = """
import socket, sys, threading, time
port, connections, messages = map(int, sys.argv[1:])
payload = b"x" * 1023 + b"\\n"
def client():
    s = socket.create_connection(("127.0.0.1", port))
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    socks.append(s)
socks = []
for _ in range(connections): client()
import selectors
sel = selectors.EpollSelector()
left = {s.fileno(): messages for s in socks}
got = {s.fileno(): 0 for s in socks}
for s in socks:
    sel.register(s, selectors.EVENT_READ)
start = time.perf_counter()
for s in socks:
    s.sendall(payload)
alive = connections
while alive:
    for key, _ in sel.select():
        s = key.fileobj
        fd = key.fd
        got[fd] += len(s.recv(65536))
        if got[fd] == len(payload):
            got[fd] = 0
            left[fd] -= 1
            if left[fd]:
                s.sendall(payload)
            else:
                sel.unregister(s); s.close(); alive -= 1
print(connections * messages / (time.perf_counter() - start))
"""


class Echo(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def echo(how: str, connections: int, messages: int) -> float:
    loop = asyncio.get_running_loop()
    server: asyncio.Server
    if how == "protocols":
        server = await loop.create_server(Echo, "127.0.0.1", 0)
    else:
        server = await asyncio.start_server(echo_stream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, str(port), str(connections), str(messages), stdout=asyncio.subprocess.PIPE
    )
    output, _ = await client.communicate()
    server.close()
    await server.wait_closed()
    return float(output)


RATES: list[tuple[str, Callable[[], Coroutine[Any, Any, float]]]] = [
    ("call_soon_batches", call_soon_batches),
    ("call_soon_single", call_soon_single),
    ("sleep_zero", sleep_zero),
    ("timers", start_and_cancel_timers),
    ("thread_burst", burst_from_a_thread),
    ("gather", gather_tasks),
    ("echo_protocols_1", lambda: echo("protocols", 1, 8_000)),
    ("echo_protocols_32", lambda: echo("protocols", 32, 800)),
    ("echo_streams_1", lambda: echo("streams", 1, 6_000)),
    ("echo_streams_32", lambda: echo("streams", 32, 600)),
]


def main() -> None:
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    if sys.argv[1] == "unirun":
        import unirun

        factory = unirun.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        for metric, rate in RATES:
            gc.collect()
            tell(metric, runner.run(rate()), "per s")
        late = sorted(runner.run(timer_lateness()))
    tell("timer_late_p50", statistics.median(late), "us")
    tell("timer_late_p99", late[len(late) * 99 // 100], "us")
    tell("timer_late_min", late[0], "us")


if __name__ == "__main__":
    main()
