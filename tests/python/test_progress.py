"""Progress bars: ours on a terminal, and those of others around `map` and `as_completed`."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import sys
import termios
from concurrent.futures import as_completed
from typing import Any

import pytest
from rich.progress import track
from tqdm import tqdm

import unirun
from scopes import PACKAGE, PATIENCE, fresh
from unirun import Run, RuntimeConfig
from unirun.progress import Progress, open_progress

pytestmark = pytest.mark.usefixtures("fresh")
__all__ = ["fresh"]

SCRIPT = """
import sys
if {hidden!r}:
    sys.modules[{hidden!r}] = None
import unirun
with unirun.Run(flavor="threads", name="fetching", max_workers=2) as executor:
    print(sum(executor.map(abs, range(100))))
"""


def on_a_terminal(hidden: str) -> tuple[str, str]:
    """What a script with a progress bar writes to stdout, and to the terminal that its stderr is."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("UNIRUN_")}
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(hidden=hidden)],
            env={**environment, "PYTHONPATH": PACKAGE, "UNIRUN_PROGRESS": "1", "TERM": "xterm"},
            stdout=subprocess.PIPE,
            stderr=theirs,
            text=True,
        )
    finally:
        os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 4096):
            shown += chunk
    except OSError:  # How a terminal ends on Linux.
        pass
    finally:
        os.close(ours)
    said, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, shown
    return said, shown.decode()


@pytest.mark.parametrize("hidden", ["", "rich"], ids=["rich", "tqdm"])
def test_a_bar_is_shown_on_a_terminal(hidden: str) -> None:
    said, shown = on_a_terminal(hidden)
    assert said == "4950\n"
    assert "fetching" in shown
    assert "100%" in shown
    assert ("100/100" in shown) is (hidden == "rich")  # What tqdm shows, and rich does not.


def test_without_a_terminal_nothing_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    with Run(flavor="threads", config=RuntimeConfig(progress=True)) as executor:
        assert list(executor.map(abs, [-1])) == [1]
    assert capfd.readouterr() == ("", "")


def test_without_rich_and_tqdm_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    for name in ("rich.console", "tqdm"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert open_progress("x", dict) is None


def test_a_bar_that_fails_is_logged_and_costs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def show(self, done: int, total: int) -> None:
            raise OSError(f"no terminal for {done}/{total}")

        def close(self) -> None:
            raise AssertionError

    counts: dict[str, Any] = {"completed": 1, "failed": 1, "cancelled": 0, "submitted": 3}
    Progress(Broken(), lambda: counts).close()
    assert "OSError: no terminal for 2/3" in caplog.text


@pytest.mark.parametrize("flavor", ["threads", "processes"])
def test_others_bars_go_around_map_and_as_completed(flavor: Any) -> None:
    with Run(flavor=flavor, max_workers=1) as executor:
        silent: Any = {"file": io.StringIO(), "total": 3}
        assert list(tqdm(executor.map(abs, [-1, -2, -3]), **silent)) == [1, 2, 3]
        futures = [unirun.submit(executor, abs, -number) for number in range(3)]
        assert sorted(future.result() for future in tqdm(as_completed(futures), **silent)) == [0, 1, 2]
        assert list(track(executor.map(abs, [-1, -2]), total=2, disable=True)) == [1, 2]
        assert len(list(track(as_completed(futures), total=3, disable=True))) == 3
