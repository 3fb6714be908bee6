"""Runs the real `unirun` binary in a world of its own: its state, its sockets, its configuration."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

BINARY = Path(os.environ.get("UNIRUN_BINARY") or Path(__file__).parents[2] / "build/dev/bin/unirun")
PATIENCE = 60.0  # Seconds for what takes milliseconds on a quiet machine.


class Cli:
    """A directory with a configuration, and the commands that are run against it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("UNIRUN_", "XDG_"))},
            "XDG_RUNTIME_DIR": str(directory / "run"),
            "XDG_STATE_HOME": str(directory / "state"),
            "LC_ALL": "C.UTF-8",
        }
        (directory / "run").mkdir(mode=0o700)

    def write(self, document: dict[str, Any] | str, name: str = "t.json") -> str:
        """Write a configuration and return its path."""
        path = self.directory / name
        path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
        return str(path)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BINARY), *arguments],
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def up(self, document: dict[str, Any] | str, prefix: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
        """A host in the background, its services started; stopped in order at the end.

        ``prefix`` is a command that becomes the host's.
        """
        path = document if isinstance(document, str) else self.write(document)
        host = subprocess.Popen(
            [*prefix, str(BINARY), "up", path, "--json"],
            env=self.environment,
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            wait_for_event(host, "supervisor_started")
            yield host
        finally:
            if host.poll() is None:
                host.send_signal(signal.SIGTERM)
            try:
                host.communicate(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                host.kill()
                host.communicate()
                raise


def wait_for_event(host: subprocess.Popen[str], kind: str, path: str | None = None) -> dict[str, Any]:
    """Read the host's log up to an event of this kind (of this path) and return it."""
    assert host.stdout is not None
    for line in host.stdout:
        event: dict[str, Any] = json.loads(line)
        if event.get("event") == kind and path in (None, event["path"]):
            return event
    assert host.stderr is not None
    raise AssertionError(f"the host ended without {kind}: {host.stderr.read()}")


def processes_marked(mark: str) -> list[int]:
    """Processes with this text in their command line; zombies have none."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in command:
            found.append(int(entry.name))
    return found


def eventually_marked(mark: str, count: int) -> bool:
    """Whether there are so many such processes, after waiting for those that come or go."""
    deadline = time.monotonic() + PATIENCE
    while len(processes_marked(mark)) != count:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def worker(name: str = "w", **keys: Any) -> dict[str, Any]:
    return {"id": name, "command": ["sleep", "1000"], **keys}


def tree(*children: dict[str, Any], **host: Any) -> dict[str, Any]:
    """One supervisor, "s", over these children."""
    return {"host": host, "supervisors": [{"id": "s", "children": list(children)}]}
