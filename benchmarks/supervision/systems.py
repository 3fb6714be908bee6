"""The systems under test, each set up at its best (see docs/benchmarks.md for why each setting is there).

Every system keeps ``count`` copies of the static program ``act`` alive. Each says on a fifo when its main began.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


@dataclass
class System:
    """One supervisor, not yet started. ``folder`` is its own and empty."""

    folder: Path
    count: int
    act: Path
    fifo: Path
    ready: str = ""  # Set by systems whose children say that they are ready.
    name: str = field(init=False, default="")
    process: subprocess.Popen[bytes] | None = field(init=False, default=None)

    @classmethod
    def missing(cls) -> str | None:
        """What would have to be installed, or None."""
        return None

    def argv(self) -> list[str]:
        raise NotImplementedError

    def environment(self) -> dict[str, str]:
        return {**os.environ, "ACT_FIFO": str(self.fifo)}

    def prepare(self) -> None:
        """Writes what the system reads."""

    def start(self) -> None:
        self.prepare()
        self.process = subprocess.Popen(
            self.argv(),
            env=self.environment(),
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=(self.folder / "stderr").open("wb"),
            start_new_session=True,
        )

    def stop(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        self.wait()

    def wait(self) -> None:
        """Waits for its end. Popen.wait() with a timeout would look every 50 ms only."""
        assert self.process is not None
        pidfd = os.pidfd_open(self.process.pid)
        ended, _, _ = select.select([pidfd], [], [], 30)
        os.close(pidfd)
        if not ended:
            sys.exit(f"{self.name} did not stop within 30 s")
        self.process.wait()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


class Floor(System):
    name = "floor"

    def argv(self) -> list[str]:
        return [str(self.act.parent / "floor"), str(self.count), str(self.act)]


class FloorInOrder(Floor):
    """Whose children end one after another, as a supervisor's do."""

    name = "floor in order"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "FLOOR_IN_ORDER": "1"}


class AsyncioLoop(System):
    name = "asyncio loop"

    def argv(self) -> list[str]:
        return [sys.executable, str(HERE / "rivals/asyncio_supervisor.py"), str(self.count), str(self.act)]


class OtpPorts(System):
    name = "OTP ports"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("escript") else "erlang-base"

    def argv(self) -> list[str]:
        return ["escript", str(HERE / "rivals/otp_ports.escript"), str(self.count), str(self.act)]

    def stop(self) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.close()
        self.wait()


class S6(System):
    name = "s6"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("s6-svscan") else "s6"

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "ACT_NOTIFY_FD": "3"}

    def prepare(self) -> None:
        for index in range(self.count):
            service = self.folder / "scan" / str(index)
            service.mkdir(parents=True)
            # Without readiness s6 holds every restart back for a second.
            (service / "notification-fd").write_text("3\n")
            write_run(service / "run", self.act, index)

    def argv(self) -> list[str]:
        return ["s6-svscan", "-c", str(self.count + 10), str(self.folder / "scan")]


class Runit(System):
    name = "runit"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("runsvdir") else "runit"

    def prepare(self) -> None:
        for index in range(self.count):
            service = self.folder / "scan" / str(index)
            service.mkdir(parents=True)
            write_run(service / "run", self.act, index)

    def argv(self) -> list[str]:
        return ["runsvdir", str(self.folder / "scan")]

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()  # Leaves its services running: they are told one by one.
        self.wait()
        services = sorted((self.folder / "scan").iterdir())
        subprocess.run(["sv", "force-shutdown", *services], stdout=subprocess.DEVNULL, check=False)


class Supervisord(System):
    name = "supervisord"

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which("supervisord") else "supervisor"

    def prepare(self) -> None:
        lines = ["[supervisord]", "nodaemon=true", f"logfile={self.folder}/log", f"pidfile={self.folder}/pid"]
        for index in range(self.count):
            lines += [
                f"[program:act{index}]",
                f"command={self.act} {index}",
                "autorestart=true",
                "startsecs=0",
                "stopsignal=KILL",
            ]
        (self.folder / "conf").write_text("\n".join(lines) + "\n")

    def argv(self) -> list[str]:
        return ["supervisord", "-c", str(self.folder / "conf")]


class Unirun(System):
    name = "unirun"

    def prepare(self) -> None:
        children = [
            {"id": str(index), "command": [str(self.act), str(index)], "shutdown": "brutal_kill"}
            for index in range(self.count)
        ]
        config = {
            "host": {
                "name": f"bench-{os.getpid()}",
                "state_dir": str(self.folder / "state"),
                "runtime_dir": str(self.folder / "run"),
            },
            "supervisors": [
                {"id": "acts", "restart_intensity": {"max_restarts": 1000000, "period": "1s"}, "children": children}
            ],
        }
        (self.folder / "unirun.json").write_text(json.dumps(config))

    def argv(self) -> list[str]:
        return [unirun_binary(), "up", str(self.folder / "unirun.json"), "--json"]


class PythonWorkers(System):
    """Of Python workers with heavy imports (act_heavy.py)."""

    megabytes: ClassVar[int] = 0  # Resident in the worker that dies.

    def environment(self) -> dict[str, str]:
        return {**super().environment(), "ACT_RESIDENT_MB": str(self.megabytes)}


class Zygote(PythonWorkers):
    name = "bare zygote"

    def argv(self) -> list[str]:
        return [sys.executable, str(HERE / "rivals/zygote.py"), str(self.count)]


class BareStandby(PythonWorkers):
    name = "bare standby"

    def argv(self) -> list[str]:
        return [sys.executable, str(HERE / "rivals/standby.py"), str(self.count)]


class ForkServer(PythonWorkers):
    name = "fork server"

    def argv(self) -> list[str]:
        return [sys.executable, str(HERE / "rivals/forkserver.py"), str(self.count)]


class UnirunPython(PythonWorkers):
    how: ClassVar[dict[str, object]] = {}

    def prepare(self) -> None:
        children = [
            {"id": str(index), "python": "act_heavy:service", "shutdown": "brutal_kill", **self.how}
            for index in range(self.count)
        ]
        config = {
            "host": {
                "name": f"bench-{os.getpid()}",
                "state_dir": str(self.folder / "state"),
                "runtime_dir": str(self.folder / "run"),
                "python": sys.executable,
                "python_path": [str(HERE), package_path()],
            },
            "supervisors": [
                {"id": "acts", "restart_intensity": {"max_restarts": 1000000, "period": "1s"}, "children": children}
            ],
        }
        (self.folder / "unirun.json").write_text(json.dumps(config))

    def argv(self) -> list[str]:
        return [unirun_binary(), "up", str(self.folder / "unirun.json"), "--json"]


class UnirunCold(UnirunPython):
    name = "unirun cold"
    how: ClassVar[dict[str, object]] = {"start": "fresh"}


class UnirunTemplate(UnirunPython):
    name = "unirun template"


class UnirunStandby(UnirunPython):
    name = "unirun standby"
    how: ClassVar[dict[str, object]] = {"standby": 1}


def package_path() -> str:
    """Where the package of the binary's own build lies, unless it is installed."""
    return str(Path(unirun_binary()).resolve().parents[1] / "python")


def unirun_binary() -> str:
    """The release build, unless UNIRUN_BINARY names another."""
    named = os.environ.get("UNIRUN_BINARY")
    candidates = [Path(named)] if named else sorted(ROOT.glob("build/release/**/unirun"))
    for candidate in candidates:
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    sys.exit("no unirun binary: run `make bench`, or name one in UNIRUN_BINARY")


def write_run(path: Path, act: Path, index: int) -> None:
    """A run file whose interpreter is ``act`` itself: no shell between the supervisor and the child."""
    path.write_text(f"#!{act} {index}\n")
    path.chmod(0o755)


ALL: list[type[System]] = [Floor, Unirun, AsyncioLoop, OtpPorts, S6, Runit, Supervisord]
HEAVY: list[type[System]] = [Zygote, BareStandby, UnirunTemplate, UnirunStandby, UnirunCold, ForkServer]
