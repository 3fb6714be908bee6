#!/usr/bin/env python3
"""Keeps the house in order: floors look down only, no circles, and some things live in one place.

Run without arguments from anywhere; prints each breach as ``FILE:LINE: what`` and exits 1 if there is one.
``--self-test`` builds small wrong houses and checks that each breach is seen.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

# Lowest first; each looks at itself and below.
FLOORS = ["framework", "executors", "supervisors", "host", "python_bindings"]

# Where a header may be included, as path prefixes.
AT_HOME = {
    "uv.h": ["framework/"],
    "Python.h": ["executors/python/", "python_bindings/"],
    "pybind11/": ["python_bindings/"],
    "http_parser.h": ["executors/process/http_probe.cpp", "host/control/http_reader.cpp"],
    "prometheus/": ["host/metrics/metrics_text.cpp"],
    "valijson/": ["host/config/"],
    "SQLiteCpp/": ["host/journal/"],
    "CLI/": ["host/cli/"],
    "spdlog/": ["executors/output/"],
    "concurrentqueue/": ["executors/python/queues/mpmc_queue.h"],
}

# What may be said only in these places: time, chance and the environment come from outside.
SPOKEN_AT = {
    r"(steady_clock|system_clock|high_resolution_clock)::now": ["framework/clock.cpp"],
    r"\bclock_gettime\b": ["framework/clock.cpp"],
    r"\brandom_device\b": ["framework/random.cpp"],
    r"\bthis_thread::sleep_|\busleep\b|\bnanosleep\b": ["executors/process/extermination.cpp"],
    r"\b(std::)?thread\b\s*[({]|std::mutex|std::atomic": ["framework/", "executors/", "host/", "python_bindings/"],
    r"\bgetenv\b": ["executors/", "host/", "python_bindings/"],
    r"[^\w]fork\(\)": ["python_bindings/forking/"],
}

# ctest calls each case by its name through a CMake list, and a filter that matches nothing passes: a name
# with one of these in it would be a test that cannot fail.
TEST_NAME = re.compile(r'^\s*(?:TEST_CASE|SCENARIO)\w*\((?:\w+,\s*)?((?:\s*"(?:\\.|[^"\\])*")+)', re.M)
UNSPEAKABLE = re.compile(r"[;\[\]\\$]")

# Two types of one name that the linker sees are one to it, whichever it takes: that compiles, and goes wrong later.
TYPE = re.compile(r"(?:class|struct)(?: \[\[nodiscard\]\])? (\w+)(?: final)?\s*(?::[^:]|\{)")
NAMESPACE = re.compile(r"namespace ([\w:]*)\s*\{")

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^>"]+)[>"]')


def sources(root: Path) -> list[Path]:
    found = [p for floor in FLOORS for p in (root / floor).rglob("*") if p.suffix in {".h", ".cpp"}]
    return sorted(found)


def test_names(root: Path) -> list[str]:
    found: list[str] = []
    for path in sorted((root / "tests").rglob("*.cpp")):
        name = path.relative_to(root).as_posix()
        text = path.read_text(encoding="utf-8")
        for match in TEST_NAME.finditer(text):
            if UNSPEAKABLE.search(match.group(1)):
                line = text.count("\n", 0, match.start(1)) + 1
                found.append(f"{name}:{line}: ctest cannot call a test named {match.group(1)}")
    return found


def without_comments(text: str) -> str:
    """The same lines, with comments and string literals blanked."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def types(text: str) -> list[tuple[str, int]]:
    """The types that other files can see, with their namespace, and the lines where they are made."""
    found, open_ones = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if match := NAMESPACE.match(line):
            open_ones.append(match.group(1))
        elif line.startswith("}  // namespace") and open_ones:
            open_ones.pop()
        elif (match := TYPE.match(line)) and "" not in open_ones:
            found.append(("::".join([*open_ones, match.group(1)]), number))
    return found


def find_circle(graph: dict[str, list[str]]) -> list[str] | None:
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> list[str] | None:
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node in done:
            return None
        for target in graph.get(node, []):
            circle = visit(target, [*trail, node])
            if circle:
                return circle
        done.add(node)
        return None

    for node in sorted(graph):
        circle = visit(node, [])
        if circle:
            return circle
    return None


def breaches(root: Path) -> list[str]:
    found: list[str] = []
    graph: dict[str, list[str]] = {}
    made: dict[str, str] = {}
    for path in sources(root):
        name = path.relative_to(root).as_posix()
        floor = FLOORS.index(name.split("/")[0])
        text = path.read_text(encoding="utf-8")
        for number, line in enumerate(text.splitlines(), 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            target = match.group(1)
            top = target.split("/")[0]
            if top in FLOORS and (root / target).exists():
                graph.setdefault(name, []).append(target)
                if FLOORS.index(top) > floor:
                    found.append(f"{name}:{number}: may not look up at {target}")
            for header, homes in AT_HOME.items():
                if target.startswith(header) and not any(name.startswith(home) for home in homes):
                    found.append(f"{name}:{number}: {header} lives in {', '.join(homes)} only")
        for type_name, number in types(text):
            place = f"{name}:{number}"
            if (first := made.setdefault(type_name, place)) != place:
                found.append(f"{place}: there is a {type_name} at {first} already")
        for number, line in enumerate(without_comments(text).splitlines(), 1):
            for words, homes in SPOKEN_AT.items():
                if re.search(words, line) and not any(name.startswith(home) for home in homes):
                    found.append(f"{name}:{number}: {line.strip()!r} belongs to {', '.join(homes) or 'nowhere'}")
    found += test_names(root)
    circle = find_circle(graph)
    if circle:
        found.append("circle: " + " -> ".join(circle))
    return found


def self_test() -> int:
    wrong = {
        "looks up": {"framework/a.h": '#include "host/b.h"\n', "host/b.h": ""},
        "circle": {"framework/a.h": '#include "framework/b.h"\n', "framework/b.h": '#include "framework/a.h"\n'},
        "uv above floor 0": {"executors/a.h": "#include <uv.h>\n"},
        "a clock in supervisors": {"supervisors/a.cpp": "auto t = std::chrono::steady_clock::now();\n"},
        "a test that ctest cannot call": {"tests/a.cpp": 'TEST_CASE("one; two") {}\n'},
        "one name for two": {
            "executors/a.cpp": "namespace u {\nclass Waiter {\n};\n}  // namespace u\n",
            "framework/b.h": "namespace u {\nclass Waiter final : A {\n};\n}  // namespace u\n",
        },
        "a fork": {"executors/a.cpp": "int pid = fork();\n"},
    }
    own = "namespace u {\nnamespace {\nclass Own {\n};\n}  // namespace\n}  // namespace u\n"
    right = {
        "host/a.h": '#include "framework/b.h"  // not fork()\n',
        "framework/b.h": "// steady_clock::now\n",
        "host/a.cpp": own,
        "host/b.cpp": own,
    }
    for name, files in [*wrong.items(), ("right", right)]:
        with tempfile.TemporaryDirectory() as folder:
            for file, text in files.items():
                path = Path(folder) / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            if bool(breaches(Path(folder))) != (name != "right"):
                print(f"check_house: self-test failed: {name}")
                return 1
    return 0


def main() -> int:
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    root = Path(__file__).resolve().parent.parent
    found = breaches(root)
    for breach in found:
        print(breach)
    print(f"check_house: {len(sources(root))} files, {len(found)} breaches")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
