"""Runs the demo and checks it. ``make demo`` calls it; so may you: ``python examples/demo/run.py``.

The core is ``unirun up configs/demo.json``, in plain view. Around it: an empty folder before, a
second pair of eyes while it runs (every event, over the control socket), ``unirun shutdown`` after
some 20 seconds, once the queue is empty, and an account afterwards. Exit code 0 only if every job
was done exactly once, every digest is right, every cause of death was seen and survived, and no
process is left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BUILT = PROJECT / "build" / "dev"
# What was built here, before what may be installed.
sys.path[:0] = [str(PROJECT / "examples"), str(BUILT / "python")]

import unirun  # noqa: E402
from demo import hashing  # noqa: E402
from demo.job_queue import Job, JobQueue  # noqa: E402
from demo.places import FOLDER, QUEUE, STATISTICS, source_files  # noqa: E402
from demo.report import Check, Deaths, Report  # noqa: E402

CONFIG = PROJECT / "configs" / "demo.json"
MARK = "UNIRUN_DEMO_RUN"  # In the environment of everything that the demo starts.


def main() -> int:
    options = arguments()
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    binary = find_binary()
    command = [binary, "up", str(CONFIG.relative_to(PROJECT)), "--for", f"{options.limit}s"]
    report = Report(sys.stdout)
    report.title(f"$ unirun {' '.join(command[1:])}")

    mark = uuid.uuid4().hex
    host = subprocess.Popen(command, cwd=PROJECT, env=environment(binary, mark))
    watcher = Watcher(host, options.seconds)
    try:
        watcher.watch()
        exit_code = host.wait()
    except KeyboardInterrupt:
        exit_code = host.wait()  # The terminal has told it as well: it stops in order.
        print()
    survivors = list(processes_with(mark))

    with JobQueue(QUEUE) as queue:
        results = queue.results()
        shares = queue.shares()
    report.tree(watcher.tree, watcher.told)
    report.deaths(watcher.deaths)
    return report.verdict(
        [
            check_jobs(results),
            check_digests(results),
            Check(bool(shares), "workers", ", ".join(f"{name} {count:,}" for name, count in shares.items())),
            check_lines(),
            check_causes(watcher.deaths),
            Check(exit_code == 0, "host", f"exit code {exit_code}"),
            Check(not survivors, "processes", f"{len(survivors)} left behind {survivors or ''}".strip()),
        ]
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="how long the host runs at least (default: 20)")
    parser.add_argument("--limit", type=int, default=120, help="and at most, on a busy machine (default: 120)")
    return parser.parse_args()


def find_binary() -> str:
    """The program `unirun`: $UNIRUN_BINARY, the one of the build tree, or the one on PATH."""
    built = BUILT / "bin" / "unirun"
    found = os.environ.get("UNIRUN_BINARY") or (str(built) if built.exists() else shutil.which("unirun"))
    if found is None or not os.path.exists(found):
        sys.exit("demo: there is no program 'unirun'; say 'make build', or set UNIRUN_BINARY")
    return found


def environment(binary: str, mark: str) -> dict[str, str]:
    """Workers run under this Python and find the package that this program has found."""
    package = str(Path(unirun.__file__).parents[1])
    paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": os.pathsep.join([os.path.dirname(sys.executable), os.path.dirname(binary), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(paths),
        MARK: mark,
    }


class Watcher:
    """Follows the host over its control socket: its events, its tree, and when it has done enough."""

    def __init__(self, host: subprocess.Popen[bytes], seconds: float) -> None:
        self._host = host
        self._enough = time.monotonic() + seconds
        self.deaths = Deaths()
        self.tree: unirun.calls.Json = {}
        self.told: dict[str, str] = {}  # What each service said of itself, by path.

    def watch(self) -> None:
        """Read every event up to the host's end."""
        client = self._connect()
        if client is None:
            return
        look_again = 0.0
        ours = False  # The journal may begin with an earlier run.
        for event in client.since(0):
            ours = ours or (isinstance(event, unirun.events.HostStarted) and event.pid == self._host.pid)
            if not ours:
                continue
            self.deaths.add(event)
            if isinstance(event, unirun.events.HostStopping):
                look_again = float("inf")
            elif event.monotonic >= look_again:
                look_again = event.monotonic + 0.5
                self._look(client)
                if time.monotonic() >= self._enough and self._all_done():
                    client.shutdown()
                    look_again = float("inf")

    def _all_done(self) -> bool:
        with JobQueue(QUEUE) as queue:
            return queue.count() == json_jobs() and queue.open() == 0

    def _look(self, client: unirun.Client) -> None:
        try:
            self.tree = client.tree()
            self.told = {service["path"]: service.get("status") or "" for service in client.status()["services"]}
        except unirun.UnirunError:
            pass  # It is about to end.

    def _connect(self) -> unirun.Client | None:
        while self._host.poll() is None:
            try:
                return unirun.connect("demo", timeout=10)
            except unirun.HostUnreachable:
                time.sleep(0.02)  # It is just starting.
        return None


# ---- What must be true afterwards ----

Results = list[tuple[Job, str | None, int, int]]


def check_jobs(results: Results) -> Check:
    missing = sum(completions == 0 for *_, completions in results)
    twice = sum(completions > 1 for *_, completions in results)
    again = sum(claims > 1 for *_, claims, _ in results)
    wanted = json_jobs()
    return Check(
        len(results) == wanted and missing == 0 and twice == 0,
        "jobs",
        f"{len(results):,} put, {len(results) - missing:,} done, {twice} done twice, {missing} missing; "
        f"{again:,} lost and done again",
    )


def json_jobs() -> int:
    lines = CONFIG.read_text(encoding="utf-8").splitlines()
    document = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))
    producer = document["supervisors"][0]["children"][0]
    return int(producer["config"]["jobs"])


def check_digests(results: Results) -> Check:
    wrong = sum(hashing.digest(job) != digest for job, digest, *_ in results)
    return Check(wrong == 0, "digests", f"{len(results):,} computed again, {wrong} differ")


def check_lines() -> Check:
    counted: Counter[str] = Counter()
    for path in source_files():
        counted[path.suffix] += path.read_bytes().count(b"\n")
    told = json.loads(STATISTICS.read_text(encoding="utf-8")) if STATISTICS.exists() else {}
    return Check(
        told == dict(counted), "lines", f"{sum(told.values()):,} in {len(told)} kinds of files, as counted by the pair"
    )


def check_causes(deaths: Deaths) -> Check:
    unseen = deaths.unseen()
    return Check(not unseen, "causes", f"not seen: {', '.join(unseen)}" if unseen else "all seen, and all survived")


def processes_with(mark: str) -> Iterator[str]:
    """What still runs and descends from the demo, as "pid name"."""
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                yield f"{entry.name} {(entry / 'comm').read_text().strip()}"
        except OSError:
            continue  # It has just ended, or is not ours.


if __name__ == "__main__":
    sys.exit(main())
