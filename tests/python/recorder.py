"""A host for a test, and its events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from unirun import events

if TYPE_CHECKING:
    from unirun import Host

PATIENCE = 60.0  # Seconds until a test gives up on an event.
EventT = TypeVar("EventT", bound=events.Event)


class Recorder:
    """Keeps every event, and waits for the one that a test is about."""

    def __init__(self) -> None:
        self.events: list[events.Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: events.Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, kind: type[EventT], path: str | None = None, count: int = 1) -> EventT:
        """The ``count``-th event of ``kind`` at ``path``."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind, path)) >= count, PATIENCE), (
                f"no {kind.kind} of {path} among {[str(event) for event in self.events]}"
            )
            return self.of(kind, path)[count - 1]

    def of(self, kind: type[EventT], path: str | None = None) -> list[EventT]:
        return [event for event in self.events if isinstance(event, kind) and path in (None, event.path)]


Make = Callable[..., "tuple[Host, Recorder]"]
