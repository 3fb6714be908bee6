"""What lies outside of the process of unirun's loop: streams, TLS, subprocesses, descriptors, signals."""

from __future__ import annotations

import asyncio
import os
import selectors
import signal
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import unirun
from loops import DEADLINE, run, run_round

pytestmark = pytest.mark.native


async def others_end() -> None:
    """Wait until the handlers of servers have ended, and what they closed is closed."""
    main = {asyncio.current_task()}
    handlers = {task for task in asyncio.all_tasks() if "echo" in repr(task.get_coro())}
    await asyncio.gather(*(handlers - main))
    for _ in range(3):
        await asyncio.sleep(0)


# ---- The world ----


def test_streams_over_tcp_and_unix_sockets(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        payload = os.urandom(3_000_000)  # More than any buffer takes at once.

        async def send() -> None:
            writer.write(payload)
            await writer.drain()

        sending = asyncio.create_task(send())
        assert await reader.readexactly(len(payload)) == payload
        await sending
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        path = str(tmp_path / "s")
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as tcp:
            host, port = tcp.sockets[0].getsockname()
            await asyncio.gather(*[talk(*await asyncio.open_connection(host, port)) for _ in range(3)])
        async with await asyncio.start_unix_server(echo, path):
            await talk(*await asyncio.open_unix_connection(path))
        await others_end()

    run(main())


def test_tls(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    client = ssl.create_default_context(cafile=str(certificate))
    client.check_hostname = False

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server) as tcp:
            host, port = tcp.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port, ssl=client)
            writer.write(b"secret\n")
            assert await reader.readline() == b"secret\n"
            writer.close()
            await writer.wait_closed()
            await others_end()

    run(main())


def test_subprocesses() -> None:
    async def main() -> None:
        process = await asyncio.create_subprocess_exec(
            "cat", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate(b"through cat")
        assert (output, process.returncode) == (b"through cat", 0)
        process = await asyncio.create_subprocess_exec("sleep", "60")
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    run(main())


def test_a_descriptor_that_cannot_be_watched_is_an_error_and_no_end(loop: asyncio.AbstractEventLoop) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        loop.add_reader(10**6, print)
    with open(__file__) as file, pytest.raises(PermissionError):
        loop.add_reader(file, print)
    ours, theirs = socket.socketpair()
    loop.add_reader(ours, print)
    ours.close()  # Without a word to the loop.
    theirs.close()
    run_round(loop)


def test_a_watch_does_not_change_the_descriptor(loop: asyncio.AbstractEventLoop) -> None:
    reading, writing = os.pipe()
    loop.add_reader(reading, lambda: (loop.remove_reader(reading), loop.stop()))
    os.write(writing, b"x")
    loop.run_forever()
    assert os.get_blocking(reading)
    os.close(reading)
    os.close(writing)


def test_more_descriptors_than_one_look_takes(loop: asyncio.AbstractEventLoop) -> None:
    pairs = [socket.socketpair() for _ in range(300)]
    seen = set()

    def arrive(sock: socket.socket) -> None:
        sock.recv(1)
        seen.add(sock)
        if len(seen) == len(pairs):
            loop.stop()

    for ours, theirs in pairs:
        loop.add_reader(ours, arrive, ours)
        theirs.send(b"x")
    loop.run_forever()
    for ours, theirs in pairs:
        loop.remove_reader(ours)
        ours.close()
        theirs.close()


def test_a_selector_without_a_descriptor_is_refused() -> None:
    from unirun.loop import EventLoop

    with selectors.SelectSelector() as selector, pytest.raises(ValueError, match=r"use selectors\.EpollSelector"):
        EventLoop(selector)


def test_a_selector_that_is_somebody_elses_works() -> None:
    from unirun.loop import EventLoop

    class Counted(selectors.EpollSelector):
        looks = 0

        def select(self, timeout: float | None = None) -> Any:
            self.looks += 1
            return super().select(timeout)

    selector = Counted()
    with unirun.Runner(loop_factory=lambda: EventLoop(selector)) as runner:
        runner.run(asyncio.to_thread(int))
        runner.run(asyncio.sleep(0.001))
    assert selector.looks > 0


# ---- Signals ----


def test_a_signal_handler_is_called_by_the_loop(loop: asyncio.AbstractEventLoop) -> None:
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    loop.call_later(0.001, os.kill, os.getpid(), signal.SIGUSR1)
    loop.run_forever()
    assert loop.remove_signal_handler(signal.SIGUSR1)


def send_when_waiting(number: int) -> None:
    """Send a signal to this process once the main thread sleeps in the kernel. Called by the loop."""
    main = threading.main_thread().native_id

    def send() -> None:
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline:
            state = Path(f"/proc/self/task/{main}/stat").read_text().rsplit(")", 1)[1].split()[0]
            if state == "S":
                break
        os.kill(os.getpid(), number)

    threading.Thread(target=send).start()


def test_ctrl_c_ends_a_loop_that_waits() -> None:
    async def forever() -> None:
        send_when_waiting(signal.SIGINT)
        await asyncio.Event().wait()

    for _ in range(5):
        with unirun.Runner() as runner, pytest.raises(KeyboardInterrupt):
            runner.run(forever())


def test_a_handler_of_pythons_own_runs_while_the_loop_waits(loop: asyncio.AbstractEventLoop) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.call_soon_threadsafe(loop.stop))
    for _ in range(5):
        loop.call_soon(send_when_waiting, signal.SIGUSR1)
        loop.run_forever()
    signal.signal(signal.SIGUSR1, before)
