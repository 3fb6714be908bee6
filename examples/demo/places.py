"""Where the demo reads and where it writes. All of it may be deleted at any time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("UNIRUN_DEMO_FOLDER", PROJECT / "build" / "demo"))
QUEUE = FOLDER / "jobs.sqlite"
PARSER_SOCKET = FOLDER / "parser.sock"
STATISTICS = FOLDER / "statistics.json"

SOURCE_SUFFIXES = {".h", ".cpp", ".py", ".pyi", ".md", ".json", ".txt", ".cmake", ".toml", ".sh", ".c"}


def source_files() -> Iterator[Path]:
    """The project's own source files, in a stable order."""
    for folder, folders, files in os.walk(PROJECT):
        folders[:] = sorted(name for name in folders if name[0] not in "._" and name not in ("build", "node_modules"))
        for name in sorted(files):
            if Path(name).suffix in SOURCE_SUFFIXES:
                yield Path(folder, name)
