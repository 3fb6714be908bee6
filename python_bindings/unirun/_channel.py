"""The control channel of a worker: frames on a stream socket.

A frame is its length (u32, little-endian) and that many bytes of UTF-8 JSON. Writing never
blocks for long: a host that does not read loses frames, and later hears how many.
"""

from __future__ import annotations

import os
from _thread import RLock
from json import dumps, loads
from select import POLLIN, POLLOUT, poll
from time import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any

MAX_FRAME_BYTES = 16 << 20
MAX_BACKLOG_BYTES = 1 << 20  # Of frames that the host has not taken yet.
PATIENCE = 0.05  # Seconds that a send may wait for a host that does not read.


class Channel:
    """Both directions over one descriptor, which it owns."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._received = bytearray()
        self._lock = RLock()  # Reentrant: a signal handler may log while a frame is being sent.
        self._flushing = False
        self._stalled = False
        self._backlog = bytearray()
        self._dropped = 0
        self._when_sent: Callable[[], object] | None = None

    def send(self, frame: dict[str, Any]) -> None:
        """Send ``frame``, or keep it for a later send, or drop and count it.

        Waits a moment for a host that does not read, and not again until the host has caught up.
        Thread: any.
        """
        try:
            self._send(frame)
        finally:
            call = self._when_sent
            if call is not None:
                self._when_sent = None
                call()

    def when_sent(self, call: Callable[[], object]) -> None:
        """Call this, which may raise, once at the end of a send; always the same one.

        For signal handlers: what one raises while a frame is being sent has it sent in part, or twice. Signals that
        another thread sends come mostly then, where a service sends much: then it lets that thread run.
        """
        self._when_sent = call

    @staticmethod
    def is_sent_by(frame: FrameType | None) -> bool:
        """Whether that is sending something, or on top of what does."""
        while frame is not None:
            if frame.f_code is SENDS:
                return True
            frame = frame.f_back
        return False

    def _send(self, frame: dict[str, Any]) -> None:
        body = dumps(frame).encode()
        with self._lock:
            patience = 0.0 if self._stalled else PATIENCE
            if len(self._backlog) > MAX_BACKLOG_BYTES:
                self.flush(patience)
            if len(self._backlog) > MAX_BACKLOG_BYTES or len(body) > MAX_FRAME_BYTES:
                self._dropped += 1
                return
            self._append(body)
            if not self._flushing:  # A signal handler's send leaves the writing to what it met.
                self.flush(patience)

    def flush(self, patience: float) -> bool:
        """Write what waits, for up to ``patience`` seconds. True when all of it is out."""
        with self._lock:
            self._flushing = True
            try:
                if not self._write(patience):
                    return False
                if self._dropped:
                    dropped, self._dropped = self._dropped, 0
                    text = f"{dropped} frames were dropped while the host did not read"
                    notice = {"level": "WARNING", "logger": "unirun.worker", "message": text}
                    self._append(dumps({"type": "log", "file": "", "line": 0, **notice}).encode())
                    return self._write(patience)
                return True
            finally:
                self._flushing = False

    def _append(self, body: bytes) -> None:
        self._backlog += len(body).to_bytes(4, "little")
        self._backlog += body

    def _write(self, patience: float) -> bool:
        deadline = monotonic() + patience
        while self._backlog:
            try:
                written = os.write(self._descriptor, self._backlog)
            except BlockingIOError:
                left = deadline - monotonic()
                if left <= 0 or not _wait(self._descriptor, POLLOUT, left):
                    self._stalled = True
                    return False
            except OSError:  # The host is gone; the reading side says so.
                return False
            else:
                del self._backlog[:written]
        self._stalled = False
        return True

    def receive(self) -> dict[str, Any] | None:
        """Wait for the next frame; `None` once the host is gone. Thread: any one at a time."""
        header = self._take(4)
        if header is None:
            return None
        length = int.from_bytes(header, "little")
        body = self._take(length) if length <= MAX_FRAME_BYTES else None
        if body is None:
            return None
        try:
            frame = loads(body)
        except ValueError:
            return None  # Whoever speaks there is not a host.
        return frame if isinstance(frame, dict) else {}

    def rehearse(self, frame: dict[str, Any]) -> None:
        """Receive ``frame``, which nobody sent. REQUIRES: nothing has been received yet."""
        body = dumps(frame).encode()
        self._received += len(body).to_bytes(4, "little") + body
        self.receive()

    def _take(self, count: int) -> bytes | None:
        while len(self._received) < count:
            try:
                chunk = os.read(self._descriptor, 1 << 16)
            except BlockingIOError:
                _wait(self._descriptor, POLLIN, None)
                continue
            except OSError:
                return None
            if not chunk:
                return None
            self._received += chunk
        taken = bytes(self._received[:count])
        del self._received[:count]
        return taken

    def abandon(self) -> None:
        """Close it in a forked child: two processes must not write into one stream."""
        descriptor, self._descriptor = self._descriptor, -1
        self._lock = RLock()  # The parent's may be held by a thread that does not exist here.
        self._backlog.clear()
        self._flushing = False
        self._when_sent = None  # It is of the parent's threads.
        os.close(descriptor)


SENDS = Channel._send.__code__


def _wait(descriptor: int, interest: int, seconds: float | None) -> bool:
    poller = poll()
    poller.register(descriptor, interest)
    return bool(poller.poll(None if seconds is None else seconds * 1e3))
