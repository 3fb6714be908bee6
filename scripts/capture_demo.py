"""Runs the demo in a terminal of 100 columns and draws what it printed: ``docs/demo.svg``.

usage: capture_demo.py [OUTPUT] [--keep-lines N]   (needs rich, see requirements/dev.txt)

The picture is of a real run. Of a long log the middle is left out, and the picture says so.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

PROJECT = Path(__file__).resolve().parents[1]
COLUMNS = 100
# Without fonts from elsewhere: a picture in a README must not load anything. With its spaces: librsvg trims even those
# that do not break, and the columns with them.
SVG_FORMAT = (
    re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.S)
    .replace("font-family: Fira Code, monospace", "font-family: ui-monospace, Menlo, Consolas, monospace")
    .replace('<svg class="rich-terminal"', '<svg class="rich-terminal" xml:space="preserve"')
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", nargs="?", type=Path, default=PROJECT / "docs" / "demo.svg")
    parser.add_argument("--keep-lines", type=int, default=30, help="lines of the live log (default: 30)")
    options = parser.parse_args()

    exit_code, printed = run_in_terminal([sys.executable, str(PROJECT / "examples" / "demo" / "run.py")])
    if exit_code != 0:
        sys.stderr.write(printed)
        sys.exit(f"capture_demo: the demo ended with {exit_code}; nothing was drawn")

    console = Console(width=COLUMNS, record=True, file=io.StringIO(), force_terminal=True)
    for line in shortened(lines_of(printed), options.keep_lines):
        console.print(Text.from_ansi(line, no_wrap=True, overflow="crop"))
    console.save_svg(str(options.output), title="make demo", theme=DIMMED_MONOKAI, code_format=SVG_FORMAT)
    print(f"capture_demo: wrote {options.output}")
    return 0


def run_in_terminal(command: list[str]) -> tuple[int, str]:
    """Run ``command`` on a pseudo-terminal. Returns its exit code and all that it wrote."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, COLUMNS, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": str(COLUMNS)}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, cwd=PROJECT)
    os.close(theirs)
    written = bytearray()
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # The last writer has closed the terminal.
            break
        if not chunk:
            break
        written += chunk
        sys.stdout.buffer.write(chunk)
        sys.stdout.flush()
    os.close(ours)
    return process.wait(), written.decode(errors="replace")


def lines_of(printed: str) -> list[str]:
    """What stands on the terminal in the end: colours are kept, other control sequences are not."""
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-ln-z]", "", printed.replace("\r\n", "\n"))
    return [line.rpartition("\r")[2] for line in text.split("\n")]


def shortened(lines: list[str], keep: int) -> list[str]:
    """The first lines of the live log, and the whole account that follows it."""
    account = next((i for i, line in enumerate(lines) if "The tree, shortly before" in line), len(lines))
    if account <= keep:
        return lines
    left_out = account - keep - 1
    return [*lines[:keep], f"\x1b[2m      ... {left_out} more lines of the same kind ...\x1b[0m", "", *lines[account:]]


if __name__ == "__main__":
    sys.exit(main())
