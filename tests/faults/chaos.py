"""Chaos: a mixed tree of three levels under random faults, and a referee over its events.

``python tests/faults/chaos.py --seconds 600`` runs it for long; `test_chaos.py` for half a minute.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from real_host import BINARY, PATIENCE, RealHost, eventually

import unirun

EXECUTORS = ("process", "thread", "async", "async_process")
PACKAGE = Path(unirun.__file__).parents[1]
ALONE = ("process", "async_process")
IN_PROCESS = ("thread", "async")
MADE_ONCE = "unirun-python"  # A thread for errands that take the GIL: from the first one on.
LIBRARY = BINARY.parents[1] / "tests/executors/libtest_services.so"
# What may be sent to a worker from outside; a stopped one is found by its heartbeat.
SIGNALS = (signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM, signal.SIGSTOP)


def moody(id: str, executor: str, instances: int) -> dict[str, Any]:
    alone = executor in ALONE
    return {
        "id": id,
        "python": "chaos_services:Moody",
        "executor": executor,
        "instances": instances,
        "config": {"life": 0.3 if alone else 0.05, "alone": alone},
        "readiness": {"kind": "notify"},
        "liveness": {"kind": "heartbeat", "timeout": "3s"},
        "shutdown": "2s",
        "backoff": {"kind": "exponential", "initial": "1ms", "max": "50ms"},
    }


def native(id: str, executor: str, instances: int) -> dict[str, Any]:
    """The same in C++."""
    spec = moody(id, executor, instances)
    del spec["python"], spec["liveness"]
    return {**spec, "native": f"{LIBRARY}:moody"}


def chaos(instances: int) -> dict[str, Any]:
    """Three levels, every strategy that restarts, every executor on each."""
    never = {"max_restarts": 1_000_000, "period": "1s"}
    below = {
        "id": "below",
        "strategy": "rest_for_one",
        "restart_intensity": {"max_restarts": 20, "period": "1s"},  # This one gives up now and then.
        "children": [
            *(moody(f"{executor}-b", executor, 1) for executor in EXECUTORS),
            *(native(f"{executor}-native-b", executor, 1) for executor in IN_PROCESS),
        ],
    }
    middle = {
        "id": "middle",
        "strategy": "one_for_all",
        "restart_intensity": never,
        "children": [moody("middling", EXECUTORS[-1], 1), below],
    }
    children = [
        *(moody(executor, executor, instances) for executor in EXECUTORS),
        *(native(f"{executor}-native", executor, instances) for executor in IN_PROCESS),
    ]
    return {"id": "chaos", "restart_intensity": never, "restart": "temporary", "children": [*children, middle]}


class Referee:
    """Holds the stream of events against what must be true of it."""

    def __init__(self) -> None:
        self.breaches: list[str] = []
        self.ends: Counter[str] = Counter()
        self._last = 0
        self._live: dict[str, int] = {}  # The run at each path.
        self._over: set[int] = set()

    def judge(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            self._judge(event)

    def _judge(self, event: dict[str, Any]) -> None:
        self._demand(event["sequence"] > self._last, "the sequence went back", event)
        self._last = event["sequence"]
        kind, path = event["event"], event["path"]
        if kind == "service_starting":
            self._demand(path not in self._live, "started twice", event)
            self._demand(event["run"] not in self._over, "a run came back", event)
            self._live[path] = event["run"]
        elif kind == "service_started":
            self._demand(self._live.get(path) == event["run"], "ready without a start", event)
        elif kind == "service_exited":
            self._demand(self._live.pop(path, None) == event["run"], "an exit without a start", event)
            self._over.add(event["run"])
            self.ends[event["reason"]["kind"]] += 1

    def at_rest(self, under: str) -> None:
        left = [path for path in self._live if path.startswith(under)]
        if left:
            self.breaches.append(f"still live after the stop: {left}")

    def _demand(self, kept: bool, rule: str, event: dict[str, Any]) -> None:
        if not kept:
            self.breaches.append(f"{rule}: {event}")


def resources(host: RealHost) -> Counter[str]:
    """What a leak would show in: threads, descriptors, processes, and what a census inside the host has counted."""
    assert host.process is not None
    proc = Path(f"/proc/{host.process.pid}")
    said = unirun.connect(host.socket_path, timeout=PATIENCE).metrics()
    census = dict(re.findall(r'unirun_service_gauge\{service="rest/census",name="(\w+)"\} (\d+)', said))
    held = Counter(f"thread {name}" for name in thread_names(proc) if name != MADE_ONCE)
    held["tasks"] = int(census.get("tasks", 0))
    held["python threads"] = int(census.get("threads", 0))
    held["descriptors"] = len(list((proc / "fd").iterdir()))
    held["processes"] = len(host.processes())
    return held


def thread_names(proc: Path) -> list[str]:
    names = []
    for task in (proc / "task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # One that ended while we looked has no name any more.
            names.append((task / "comm").read_text().strip())
    return names


def settled(host: RealHost) -> Counter[str]:
    """Its resources, once a second has changed nothing: what is being cleared away has gone."""
    seen = resources(host)
    still_since = time.monotonic()
    deadline = still_since + PATIENCE
    while time.monotonic() - still_since < 1.0 and time.monotonic() < deadline:
        time.sleep(0.05)
        if (now := resources(host)) != seen:
            seen, still_since = now, time.monotonic()
    return seen


def provoke(client: unirun.Client, chance: random.Random) -> str:
    """Do one thing that nobody asked for."""
    services = [s for s in client.status()["services"] if s["path"].startswith("chaos/") and s["type"] == "worker"]
    service = chance.choice(services)
    if chance.random() < 0.4 and service["pid"]:
        number = chance.choice(SIGNALS)
        try:
            os.kill(service["pid"], number)
        except ProcessLookupError:
            return "too late"
        return number.name
    command = chance.choice(["kill", "restart", "stop"])
    try:
        getattr(client.service(service["path"]), command)()
        if command == "stop":
            client.service(service["path"]).start()
    except unirun.UnirunError as error:  # Its supervisor was gone, or it did not come up: chaos.
        return f"{command}: {type(error).__name__}"
    return command


def run(host: RealHost, seconds: float, seed: int, instances: int = 3) -> Referee:
    """Chaos for so long. The host has been started with `document`, and goes on to run."""
    chance, referee = random.Random(seed), Referee()
    client = unirun.connect(host.socket_path, timeout=PATIENCE)
    provoked: Counter[str] = Counter()

    def storm(length: float) -> None:
        client[""].start_child(chaos(instances))
        deadline = time.monotonic() + length
        while time.monotonic() < deadline:
            provoked[provoke(client, chance)] += 1
            time.sleep(chance.random() * 0.2)
        client[""].terminate_child("chaos")

    storm(2.0)  # What the host makes once and keeps is there afterwards.
    before = settled(host)
    storm(seconds)
    if not eventually(lambda: not resources(host) - before):  # Less is none: something was on its way at first.
        referee.breaches.append(f"leaked: {resources(host) - before}, above {before}")
    client.request("version")  # Whatever was published before this has been printed soon.
    assert eventually(lambda: host.count("supervisor_stopped", "chaos") >= 2)
    referee.judge(list(host.events))
    referee.at_rest("chaos")
    print(f"seed {seed}: provoked {dict(provoked)}, ends {dict(referee.ends)}")
    return referee


def document() -> dict[str, Any]:
    resting = [
        {"id": executor, "python": "chaos_services:Moody", "executor": executor, "config": {"life": 1e8}}
        for executor in EXECUTORS
    ]
    resting.append({"id": "census", "python": "chaos_services:census", "executor": "async"})
    python_path = [str(PACKAGE), str(Path(__file__).parent)]
    return {
        "host": {"python": sys.executable, "python_path": python_path},
        "supervisors": [{"id": "rest", "children": resting, "restart_intensity": {"max_restarts": 0, "period": "1s"}}],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    parser.add_argument("--instances", type=int, default=3)
    arguments = parser.parse_args()
    with RealHost() as host:
        host.start(document())
        host.wait_for("supervisor_started", "rest")
        referee = run(host, arguments.seconds, arguments.seed, arguments.instances)
        host.send(signal.SIGTERM)
        code = host.wait()
        survivors = host.processes()
    print("\n".join(referee.breaches) or f"every rule was kept; exit {code}, {len(survivors)} survivors")
    return 1 if referee.breaches or survivors or code != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
