"""A progress bar for a scope: by rich or tqdm where installed, on a terminal, and nothing elsewhere."""

from __future__ import annotations

import logging
import sys
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INTERVAL = 0.1  # Seconds between two looks at the executor.
ENDED = ("completed", "failed", "cancelled")


class Bar(Protocol):
    def show(self, done: int, total: int) -> None: ...
    def close(self) -> None: ...


class Progress:
    """Looks at an executor's statistics ten times a second, in a thread of its own, and moves a bar."""

    def __init__(self, bar: Bar, statistics: Callable[[], Mapping[str, Any]]) -> None:
        self._bar = bar
        self._statistics = statistics
        self._is_over = Event()
        self._thread = Thread(target=self._keep_showing, name="unirun-progress", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Show how it ended and leave the line. Waits for the thread."""
        self._is_over.set()
        self._thread.join()

    def _keep_showing(self) -> None:
        try:
            while not self._is_over.wait(INTERVAL):
                self._show()
            self._show()
            self._bar.close()
        except Exception:  # A terminal that is gone costs nobody a result.
            logging.getLogger("unirun.progress").exception("the progress bar ends here")

    def _show(self) -> None:
        now = self._statistics()
        self._bar.show(sum(now[name] for name in ENDED), now["submitted"])


def open_progress(title: str, statistics: Callable[[], Mapping[str, Any]]) -> Progress | None:
    """A bar that is on its way, or None: no terminal, or neither rich nor tqdm."""
    if sys.stderr is None or not sys.stderr.isatty():
        return None
    for make in (_rich, _tqdm):
        try:
            return Progress(make(title), statistics)
        except ImportError:
            continue
    return None


def _rich(title: str) -> Bar:
    from rich.console import Console
    from rich.progress import Progress as RichProgress

    class RichBar:
        def __init__(self) -> None:
            self._progress = RichProgress(console=Console(stderr=True), redirect_stdout=False, redirect_stderr=False)
            self._task = self._progress.add_task(title, total=0)
            self._progress.start()

        def show(self, done: int, total: int) -> None:
            self._progress.update(self._task, completed=done, total=total)

        def close(self) -> None:
            self._progress.stop()

    return RichBar()


def _tqdm(title: str) -> Bar:
    from tqdm import tqdm

    class TqdmBar:
        def __init__(self) -> None:
            self._bar = tqdm(desc=title, total=0, file=sys.stderr)

        def show(self, done: int, total: int) -> None:
            self._bar.total = total
            self._bar.n = done
            self._bar.refresh()

        def close(self) -> None:
            self._bar.close()

    return TqdmBar()
