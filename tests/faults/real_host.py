"""A real host in a directory of its own, and what a test of faults needs to know of it.

Every process below it carries a token in its environment: `processes()` finds them wherever they went.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

BINARY = Path(os.environ.get("UNIRUN_BINARY") or Path(__file__).parents[2] / "build/dev/bin/unirun")
PATIENCE = 60.0  # Seconds for what takes milliseconds on a quiet machine.
NOBODY = 65534


def eventually(true_by_now: Callable[[], bool], patience: float = PATIENCE) -> bool:
    """Whether it has become true, after waiting for that."""
    deadline = time.monotonic() + patience
    while not true_by_now():
        if time.monotonic() > deadline:
            return false_once_more(true_by_now)
        time.sleep(0.01)
    return True


def false_once_more(true_by_now: Callable[[], bool]) -> bool:
    """The last look: a busy machine may have kept us from looking for long."""
    return true_by_now()


class RealHost:
    """`unirun up --json` as a child of the test, its events gathered by a thread."""

    def __init__(self, *, user: int | None = None, environment: dict[str, str] | None = None) -> None:
        self.token = f"unirun-fault-{uuid.uuid4()}"
        self.user = user
        # Not below pytest's own: a socket's path has 107 bytes.
        self.directory = Path(tempfile.mkdtemp(prefix="unirun-"))
        self.directory.chmod(0o755)
        for name in ("run", "state"):
            (self.directory / name).mkdir(mode=0o700)
        if user is not None:
            for path in (self.directory, self.directory / "run", self.directory / "state"):
                os.chown(path, user, user)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("UNIRUN_", "XDG_"))},
            "XDG_RUNTIME_DIR": str(self.directory / "run"),
            "XDG_STATE_HOME": str(self.directory / "state"),
            "FAULT_TOKEN": self.token,
            **(environment or {}),
        }
        self.binary = BINARY
        if user is not None:  # Who may not be able to read what lies in our home.
            self.binary = self.public(BINARY)
            self.public(BINARY.with_name("unirun-guard"))
        self.process: subprocess.Popen[bytes] | None = None
        self.events: list[dict[str, Any]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        self.keep_events = True
        self._reader: threading.Thread | None = None

    def __enter__(self) -> RealHost:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_all()
        shutil.rmtree(self.directory, ignore_errors=True)

    def public(self, file: Path) -> Path:
        """A copy in the host's own directory, which every user can read and run."""
        copy = self.directory / file.name
        shutil.copy(file, copy)
        copy.chmod(0o755)
        return copy

    # ---- Its life ----

    def start(self, document: dict[str, Any]) -> None:
        document = {
            "host": {"name": "h", **document.get("host", {})},
            **{k: v for k, v in document.items() if k != "host"},
        }
        path = self.directory / "h.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        path.chmod(0o644)
        self.events.clear()
        self.counts.clear()
        if self.process is not None:
            self._close_pipes()
        self.process = subprocess.Popen(
            [str(self.binary), "up", str(path), "--json"],
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            user=self.user,
            group=self.user,
            extra_groups=[] if self.user is not None else None,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if not line.endswith(b"\n"):  # A host that is killed may be in the midst of one.
                assert process.wait() == -signal.SIGKILL, f"half a line of a host that nobody has killed: {line!r}"
                return
            event = json.loads(line)
            if "event" not in event:
                continue
            if self.keep_events:
                self.events.append(event)
            self.counts[event["event"], event["path"]] += 1

    def count(self, kind: str, path: str | None = None) -> int:
        counted = dict(self.counts)  # At once, while the reader goes on; a list of its items may let that in between.
        return sum(n for (k, p), n in counted.items() if k == kind and path in (None, p))

    def wait_for(self, kind: str, path: str | None = None, times: int = 1) -> None:
        def there() -> bool:
            assert self.process is not None
            return self.count(kind, path) >= times or self.process.poll() is not None

        assert eventually(there), f"no {kind} of {path}"
        if self.count(kind, path) < times:
            self._read_to_the_end()
        assert self.count(kind, path) >= times, self.ended_with()

    def ended_with(self) -> str:
        assert self.process is not None
        assert self.process.stderr is not None
        return f"the host ended with {self.process.poll()}: {self.process.stderr.read().decode()}"

    def send(self, signal_number: int) -> None:
        assert self.process is not None
        self.process.send_signal(signal_number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait for the host's end, and for the end of its log."""
        assert self.process is not None
        code = self.process.wait(patience)
        self._read_to_the_end()
        return code

    def _read_to_the_end(self) -> None:
        assert self._reader is not None
        self._reader.join(PATIENCE)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()
        self._close_pipes()

    def _close_pipes(self) -> None:
        assert self.process is not None
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def end_all(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.wait()
            self._close_pipes()
        for pid in self.processes():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue

    # ---- What is to be seen of it ----

    def processes(self, token: str | None = None) -> list[int]:
        """Who carries the token, the host itself left out."""
        marked = f"FAULT_TOKEN={token or self.token}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or (self.process and int(entry.name) == self.process.pid):
                continue
            try:
                if marked in (entry / "environ").read_bytes():
                    found.append(int(entry.name))
            except OSError:
                continue
        return found

    @property
    def socket_path(self) -> Path:
        return self.directory / "run/unirun/h.sock"

    @property
    def journal(self) -> Path:
        return self.directory / "state/unirun/h/journal.sqlite"

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(str(self.socket_path))
        return client

    def ask(self, method: str, target: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("unirun")
        with self.connect() as connection.sock:
            return self._exchange(connection, method, target, body)

    @staticmethod
    def _exchange(connection: http.client.HTTPConnection, method: str, target: str, body: dict[str, Any] | None) -> Any:
        connection.request(method, target, json.dumps(body or {}) if method == "POST" else None)
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert response.status < 400, answer
        return answer

    def pss_kib(self) -> int:
        assert self.process is not None
        rollup = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def tree(*children: dict[str, Any], **flags: Any) -> dict[str, Any]:
    """One supervisor, "s", that practically never gives up."""
    intensity = {"max_restarts": 1_000_000, "period": "1s"}
    return {"supervisors": [{"id": "s", "restart_intensity": intensity, **flags, "children": list(children)}]}
