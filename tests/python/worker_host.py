"""A host of one worker for tests: the other end of a control channel, and nothing else."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import unirun

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(unirun.__file__).absolute().parents[1]
TARGETS = ROOT / "tests" / "python" / "targets"
PATIENCE = 60.0  # Seconds until a test gives up on a worker.

Frame = dict[str, Any]


class WorkerHost:
    """Starts ``python -m unirun.worker`` and speaks with it. A context manager: nothing stays."""

    def __init__(self, target: str, *, interpreter: str = sys.executable, **start: Any) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(PATIENCE)
        self._faults, fault_end = os.pipe()
        environment = {
            **os.environ,
            "PYTHONPATH": f"{PACKAGE}{os.pathsep}{TARGETS}",
            "UNIRUN_CONTROL_FD": str(theirs.fileno()),
            "UNIRUN_FAULT_FD": str(fault_end),
        }
        self.process = subprocess.Popen(
            [interpreter, "-m", "unirun.worker"],
            pass_fds=[theirs.fileno(), fault_end],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=TARGETS,
            start_new_session=True,
        )
        theirs.close()
        os.close(fault_end)
        self._received = b""
        self.send({"type": "start", "target": target, "path": "tree/one", "id": "one", **start})

    def __enter__(self) -> WorkerHost:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self._socket.close()
        os.close(self._faults)

    def send(self, frame: Frame) -> None:
        body = json.dumps(frame).encode()
        self._socket.sendall(len(body).to_bytes(4, "little") + body)

    def cancel(self) -> None:
        self.send({"type": "cancel"})

    def hang_up(self) -> None:
        self._socket.close()

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def frames(self) -> Iterator[Frame]:
        """Every frame up to the worker's end."""
        while (frame := self.next_frame()) is not None:
            yield frame

    def next_frame(self) -> Frame | None:
        header = self._take(4)
        if not header:
            return None
        return dict(json.loads(self._take(int.from_bytes(header, "little"))))

    def wait_for(self, kind: str) -> Frame:
        """The next frame of this kind; those before it are dropped."""
        for frame in self.frames():
            if frame["type"] == kind:
                return frame
        raise AssertionError(f"the worker ended without {kind}: {self.finish()}")

    def finish(self) -> tuple[int, str, str]:
        """Exit code, stdout, stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out.decode(), err.decode()

    def stacks(self) -> str:
        """What faulthandler wrote; complete once the worker has ended."""
        written = b""
        while chunk := os.read(self._faults, 1 << 16):
            written += chunk
        return written.decode()

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            chunk = self._socket.recv(1 << 16)
            if not chunk:
                return b""
            self._received += chunk
        taken, self._received = self._received[:count], self._received[count:]
        return taken
