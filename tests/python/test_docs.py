"""The pages tell the truth: what is generated is up to date, and every Python block runs."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import unirun
from cli import BINARY, PATIENCE, Cli

pytestmark = pytest.mark.native

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)
PAGES = ("README.md", "docs/python.md", "docs/asyncio.md", "docs/run.md", "docs/pools.md", "docs/compat.md")
PORT = "7001"  # Of the pages; a test takes one that is free.


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return [body for found, body in FENCE.findall(text) if found == language]


def file_name(block: str) -> str | None:
    """A block that begins with ``# NAME.py`` is that file."""
    named = re.match(r"# (\w+\.py)\n", block)
    return named[1] if named else None


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return str(taken.getsockname()[1])


@pytest.fixture(params=PAGES)
def page(request: pytest.FixtureRequest, cli: Cli) -> str:
    """A page whose named blocks lie as files in the directory of `cli`."""
    for block in blocks(request.param, "python"):
        if (name := file_name(block)) is not None:
            (cli.directory / name).write_text(block, encoding="utf-8")
    return str(request.param)


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


def test_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts/render_docs.py", "--check"],
        env={**os.environ, "UNIRUN_BINARY": str(BINARY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_python_block_runs(page: str, cli: Cli) -> None:
    port = free_port()
    found = blocks(page, "python")
    assert len(found) > 1
    for block in found:
        script = cli.directory / (file_name(block) or "block.py")
        script.write_text(block.replace(PORT, port), encoding="utf-8")
        run_to_its_end(script, cli, waits_for_host=re.search(r"^ +host\.wait\(\)$", block, re.M) is not None)


def run_to_its_end(script: Path, cli: Cli, *, waits_for_host: bool) -> None:
    """Run it; a host that it waits for is shut down as soon as its trees stand."""
    running = subprocess.Popen(
        [sys.executable, script.name],
        cwd=cli.directory,
        env={**cli.environment, "PYTHONPATH": str(Path(unirun.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        if waits_for_host:
            shut_down_once_up(cli, running, restarted=".restart()" in script.read_text(encoding="utf-8"))
        said, _ = running.communicate(timeout=PATIENCE)
    finally:
        running.kill()
        running.wait()
    assert running.returncode == 0, f"{script.read_text(encoding='utf-8')}\nsaid:\n{said}"


def shut_down_once_up(cli: Cli, running: subprocess.Popen[str], *, restarted: bool) -> None:
    """When every service runs; and if one is restarted, when it has had its second run."""
    deadline = time.monotonic() + PATIENCE
    while running.poll() is None and time.monotonic() < deadline:
        answer = cli.run("status", "--json")
        services = json.loads(answer.stdout)["services"] if answer.returncode == 0 else []
        runs = max((service["run"] or 0 for service in services), default=0)
        awaited = len(services) + 1 if restarted else 1
        if runs >= awaited and all(service["state"] == "running" for service in services):
            assert cli.run("shutdown").returncode == 0
            return
        time.sleep(0.05)
    running.kill()
    raise AssertionError(f"its services did not come up:\n{running.communicate()[0]}")


@pytest.mark.parametrize("name", ["README.md", "docs/configuration.md", "docs/supervision.md", "docs/processes.md"])
def test_every_json_block_has_known_keys(name: str, cli: Cli) -> None:
    """What the pages show may name programs that are not here, but no key or value that is wrong."""
    examples = [json.loads(block) for block in blocks(name, "json")]
    assert examples
    for example in examples:
        if "supervisors" not in example:
            whole = example if "children" in example else {"id": "page", "children": [example]}
            example = {"supervisors": [whole]}
        done = cli.run("validate", cli.write(example), "--json")
        faults = json.loads(done.stdout).get("faults", []) if done.returncode else []
        wrong = [fault for fault in faults if not about_this_machine(fault)]
        assert not wrong, wrong


def about_this_machine(fault: dict[str, str]) -> bool:
    return any(word in fault["pointer"] for word in ("/command", "/python", "/user", "/cwd"))


def test_the_readme_works_from_the_command_line(cli: Cli) -> None:
    (worker,) = (block for block in blocks("README.md", "python") if file_name(block) == "ingest.py")
    (cli.directory / "ingest.py").write_text(worker, encoding="utf-8")
    (configuration,) = blocks("README.md", "json")
    cli.environment["PYTHONPATH"] = str(Path(unirun.__file__).parents[1])
    with cli.up(cli.write(configuration.replace(PORT, free_port()), "pipeline.json")):
        services = {service["path"] for service in cli.json("status")["services"]}
        assert services == {"pipeline", "pipeline/broker", "pipeline/ingest-1", "pipeline/ingest-2"}
        cli.json("kill", "pipeline/ingest-1")
        cli.json("restart", "pipeline/ingest-1")
        (death, *_) = cli.json("why", "pipeline/ingest-1")["deaths"]
        assert death["reason"]["kind"] == "killed"
        assert len(cli.json("scale", "pipeline/ingest", "4")["services"]) == 4


def test_every_link_between_pages_leads_somewhere() -> None:
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", prose):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"
