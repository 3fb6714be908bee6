"""Holds unirun's supervisors against Erlang/OTP's own, on random scripts.

A script is a tree of supervisors and workers, then deaths, failing starts and calls. `otp.escript` plays it on
a real Erlang supervisor, `oracle_trace` on ours; both print every start and stop in order, every reply, every
state asked for, and how the root ended. The two traces must be equal, line by line.

The period of every supervisor is an hour, so that no script comes near the window of OTP's whole seconds
(docs: supervision, item 19). Only dynamic children stop in no order; their stops are sorted before comparing.

Usage: oracle.py --trace PROGRAM [--scripts N] [--seed S]. Exit code 0: equal; 1: not; 77: no Erlang here.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
STRATEGIES = ["one_for_one", "one_for_all", "rest_for_one"]
RESTARTS = ["permanent", "permanent", "transient", "temporary"]


class Script:
    """One random script. The same seed and number give the same script."""

    def __init__(self, seed: int, number: int) -> None:
        self.random = random.Random(f"{seed}/{number}")
        self.lines = [f"script {number}"]
        self.workers: list[str] = []
        self.static: list[str] = []  # Supervisors.
        self.dynamic: list[str] = []
        self.children: dict[str, list[str]] = {}  # Of static supervisors, nested ones included.
        self.names: list[str] = []  # Of dynamic workers.
        self.added = 0
        self.supervisor("root", "-", depth=0)
        self.before()
        self.lines.append("go")
        for _ in range(self.random.randint(5, 25)):
            self.step()
        self.observe()
        if self.random.random() < 0.5:
            self.lines.append("shutdown")
        self.lines.append("end")

    def supervisor(
        self, name: str, parent: str, depth: int, significant: str = "0", restart: str = "permanent"
    ) -> None:
        r = self.random
        dynamic = depth > 0 and r.random() < 0.3
        strategy = "simple_one_for_one" if dynamic else r.choice(STRATEGIES)
        auto = "never" if r.random() < 0.6 else r.choice(["any_significant", "all_significant"])
        intensity = r.choice([0, 1, 2, 5, 50, 50])
        self.lines.append(f"sup {name} {parent} {strategy} {intensity} {auto} {restart} {significant}")
        if dynamic:
            self.dynamic.append(name)
            self.lines.append(f"child {name}t {name} {r.choice(RESTARTS)} 0")
            return
        self.static.append(name)
        self.children[name] = []
        for index in range(r.randint(0 if depth else 1, 5)):
            kind = r.choice(RESTARTS)
            marked = "1" if auto != "never" and kind != "permanent" and r.random() < 0.6 else "0"
            child = f"{name}{index}"
            self.children[name].append(child)
            if depth < 2 and r.random() < 0.25:
                self.supervisor(child, name, depth + 1, marked, kind)
            else:
                self.workers.append(child)
                self.lines.append(f"child {child} {name} {kind} {marked}")

    def before(self) -> None:
        r = self.random
        if self.workers and r.random() < 0.1:
            self.lines.append(f"fail {r.choice(self.workers)} 1")
        if self.workers and r.random() < 0.2:
            self.lines.append(f"ignore {r.choice(self.workers)} 1")

    def step(self) -> None:
        r = self.random
        choice = r.random()
        if choice < 0.4 and (self.workers or self.names):
            reason = r.choice(["crash", "crash", "crash", "normal", "shutdown"])
            self.lines.append(f"die {r.choice(self.workers + self.names)} {reason}")
        elif choice < 0.5 and self.workers:
            # A failing start shows at the next restart; a dynamic one must not decline (item 31 is newer).
            self.lines.append(f"fail {r.choice(self.workers + self.names)} {r.randint(1, 3)}")
        elif choice < 0.54 and self.workers:
            self.lines.append(f"ignore {r.choice(self.workers)} 1")
        elif choice < 0.66 and self.dynamic:
            self.dynamic_call()
        elif choice < 0.95:
            self.static_call()
        else:
            self.observe()

    def dynamic_call(self) -> None:
        r = self.random
        supervisor = r.choice(self.dynamic)
        verb = r.choice(["start", "start", "start", "terminate", "other"])
        if verb == "start" or not self.names:
            name = f"w{len(self.names)}"
            self.names.append(name)
            self.lines.append(f"start_dynamic {supervisor} {name}")
        elif verb == "terminate":
            self.lines.append(f"terminate_handle {supervisor} {r.choice(self.names)}")
        else:
            self.lines.append(f"{r.choice(['terminate', 'restart', 'delete'])} {supervisor} {supervisor}t")

    def static_call(self) -> None:
        r = self.random
        supervisor = r.choice(self.static)
        known = self.children[supervisor]
        verb = r.choice(["start_child", "terminate", "terminate", "restart", "restart", "delete"])
        if verb == "start_child":
            child = r.choice(known) if known and r.random() < 0.4 else f"x{self.added}"
            if child not in known and not any(child in others for others in self.children.values()):
                self.added += 1
                known.append(child)
                self.workers.append(child)
            self.lines.append(f"start_child {supervisor} {child} {r.choice(RESTARTS)} {int(r.random() < 0.2)}")
        else:
            child = r.choice(known) if known and r.random() < 0.9 else "nobody"
            self.lines.append(f"{verb} {supervisor} {child}")

    def observe(self) -> None:
        for supervisor in self.static + self.dynamic:
            self.lines.append(f"which {supervisor}")
            self.lines.append(f"count {supervisor}")


def canonical(trace: str) -> dict[str, list[str]]:
    """The traces by script, with runs of dynamic stops sorted."""
    scripts: dict[str, list[str]] = {}
    lines: list[str] = []
    stops: list[str] = []
    for line in [*trace.splitlines(), ""]:
        if line.startswith("stop w"):
            stops.append(line)
            continue
        lines += sorted(stops)
        stops = []
        if line.startswith("script "):
            lines = scripts.setdefault(line, [])
        elif line:
            lines.append(line)
    return scripts


def show(title: str, lines: list[str], upto: int) -> None:
    print(f"  {title}:")
    for index, line in enumerate(lines[: upto + 6]):
        print(f"    {'=>' if index == upto else '  '} {line}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trace", required=True, help="the program oracle_trace")
    parser.add_argument("--scripts", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not shutil.which("escript"):
        print("SKIPPED: no Erlang here. Install erlang-base: without it nothing is held against OTP.")
        return 77

    scripts = [Script(options.seed, number) for number in range(options.scripts)]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scripts.txt"
        file.write_text("".join("\n".join(script.lines) + "\n" for script in scripts))
        traces = [
            subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, timeout=500).stdout
            for command in (["escript", str(HERE / "otp.escript"), str(file)], [options.trace, str(file)])
        ]
    theirs, ours = (canonical(trace) for trace in traces)

    if len(theirs) != len(scripts):
        print(f"Erlang played {len(theirs)} of {len(scripts)} scripts")
        return 1
    different = [name for name in theirs if theirs[name] != ours.get(name)]
    for name in different[:3]:
        mine = ours.get(name, [])
        first = next(
            (i for i, (a, b) in enumerate(zip(theirs[name], mine, strict=False)) if a != b),
            min(len(theirs[name]), len(mine)),
        )
        print(f"{name}, seed {options.seed}: the traces part at line {first}")
        print("  played:", *scripts[int(name.split()[1])].lines, sep="\n      ")
        show("Erlang", theirs[name], first)
        show("unirun", mine, first)
    lines = sum(len(trace) for trace in theirs.values())
    print(f"{len(scripts)} scripts, seed {options.seed}: {lines} lines of trace, {len(different)} scripts differ")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
