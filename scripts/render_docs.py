#!/usr/bin/env python3
"""Fills the generated parts of docs/: the command line's help, its exit codes, the keys of the schema.

A page holds ``<!-- generated: NAME -->`` and ``<!-- end -->``; what stands between them is written
here, everything else by people. ``--check`` writes nothing and exits 1 when a page is stale.
The program is $UNIRUN_BINARY, else build/dev/bin/unirun.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BINARY = Path(os.environ.get("UNIRUN_BINARY") or ROOT / "build/dev/bin/unirun")
PAGES = ("docs/cli.md", "docs/configuration.md")
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)
EPILOGUE = "\nExit codes: "

# What stands in too many rows to be told in full in each; the page tells it once.
SHORT = {"duration": "a duration", "size": "a size", "argv": "an array of strings"}

Row = tuple[str, ...]


def help_of(*command: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNIRUN_")}
    done = subprocess.run(
        [str(BINARY), *command, "--help"], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


# ---- The command line ----


def commands() -> str:
    """The help of every command, as the program prints it."""
    overview = help_of()
    names = re.findall(r"^  (\w+)  +\S", overview[overview.index("Subcommands:") :], re.M)
    parts = [f"```text\n{before(overview, EPILOGUE)}\n```\n"]
    for name in names:
        title, text = before(help_of(name), EPILOGUE).split("\n", 1)
        parts.append(f"### {name}\n\n{title}.\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def exit_codes() -> str:
    overview = help_of()
    sentence = " ".join(overview[overview.index(EPILOGUE) + len(EPILOGUE) :].split()).rstrip(".")
    rows = (entry.split(" ", 1) for entry in sentence.split(", "))
    return table(("code", "meaning"), [(f"`{code}`", meaning) for code, meaning in rows])


def before(text: str, mark: str) -> str:
    return text[: text.index(mark)].strip()


# ---- The configuration ----


def keys() -> str:
    """Every key of the schema: where it stands, what it takes, its default and its meaning."""
    schema = json.loads((ROOT / "configs/unirun.schema.json").read_text(encoding="utf-8"))
    definitions = schema["definitions"]
    sections = [
        ("The file", schema),
        ("`host`", definitions["host"]),
        ("`host.root`", definitions["root"]),
        ("A supervisor", definitions["supervisor"]),
        ("A worker", definitions["worker"]),
        ("`restart_intensity`", definitions["restart_intensity"]),
        ("`backoff`", definitions["backoff"]),
        ("`depends_on`, an entry", definitions["dependency"]["then"]),
        ("`env`, a secret", definitions["env_value"]["then"]),
        ("`rlimits`, a limit", definitions["limit"]["then"]),
        ("`output`", definitions["output"]),
    ]
    parts = [section(title, shape, definitions) for title, shape in sections]
    for name in ("readiness", "liveness"):
        parts += [section(title, shape, definitions) for title, shape in kinds_of(name, definitions[name])]
    names = ", ".join(f"`{name}`" for name in definitions["rlimits"]["properties"])
    parts.append(f"`rlimits` knows {names}.\n")
    return "\n".join(parts)


def kinds_of(name: str, shape: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """The alternatives of a member that is told apart by its kind; those without keys are left out."""
    found = []
    for rule in shape["allOf"]:
        kind = rule["if"]["properties"]["kind"].get("const")
        own = {key: value for key, value in rule["then"]["properties"].items() if key != "kind"}
        if kind is not None and own:
            found.append((f'`{name}` of kind `"{kind}"`', {**rule["then"], "properties": own}))
    return found


def section(title: str, shape: dict[str, Any], definitions: dict[str, Any]) -> str:
    required = shape.get("required", ())
    rows: list[Row] = []
    for key, given in shape["properties"].items():
        shared = given.get("$ref", "").rpartition("/")[2]
        member = {**definitions.get(shared, {}), **given}
        if shared in SHORT:
            member["title"] = SHORT[shared]
        default = f"`{json.dumps(member['default'])}`" if "default" in member else ""
        meaning = " ".join(filter(None, ["Required." if key in required else "", member.get("description", "")]))
        rows.append((f"`{key}`", expected(member), default, meaning))
    return f"### {title}\n\n{table(('key', 'takes', 'default', 'meaning'), rows)}"


def expected(member: dict[str, Any]) -> str:
    if "enum" in member:
        return ", ".join(f'`"{word}"`' for word in member["enum"])
    return str(member.get("title", member.get("type", "")))


def table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "".join("| " + " | ".join(map(escaped, line)) + " |\n" for line in lines)


def escaped(cell: str) -> str:
    return cell.replace("|", "\\|").replace("<", "&lt;")


# ---- The pages ----

BLOCKS: dict[str, Callable[[], str]] = {"commands": commands, "exit_codes": exit_codes, "keys": keys}


def rendered(text: str) -> str:
    """The page with its generated parts as they are to be now."""
    return BLOCK.sub(lambda found: f"{found[1]}{BLOCKS[found[2]]()}{found[3]}", text)


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = []
    for name in PAGES:
        page = ROOT / name
        old = page.read_text(encoding="utf-8")
        new = rendered(old)
        if new == old:
            continue
        stale.append(name)
        if not check:
            page.write_text(new, encoding="utf-8")
    for name in stale:
        print(f"{name}: {'stale; say: make docs' if check else 'written'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
