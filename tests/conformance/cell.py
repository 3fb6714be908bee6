"""One cell of the matrix: one item under one executor, in a tree of its own on a real host."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from real_host import PATIENCE, RealHost, eventually

import unirun
from unirun import Child, Supervisor

EXECUTORS = ("process", "thread", "async", "async_process")
IN_PROCESS = ("thread", "async")


@dataclass(frozen=True)
class Item:
    """A row of the matrix."""

    name: str  # A sentence.
    check: Callable[[Cell], None]
    not_for: dict[str, str]  # Executors that it can't apply to, and why.


ITEMS: list[Item] = []


def item(**not_for: str) -> Callable[[Callable[[Cell], None]], Callable[[Cell], None]]:
    """Add a row, named by its function; ``not_for`` says where it can't apply, and why."""

    def add(check: Callable[[Cell], None]) -> Callable[[Cell], None]:
        ITEMS.append(Item(check.__name__.replace("_", " "), check, not_for))
        return check

    return add


@dataclass
class Cell:
    host: RealHost
    executor: str
    id: str
    client: unirun.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = unirun.connect(self.host.socket_path, timeout=PATIENCE)

    # ---- Doing ----

    def child(self, target: str, id: str = "w", **members: Any) -> Child:
        """A child under this cell's executor; with readiness by notify unless told otherwise."""
        members = {"executor": self.executor, "readiness": {"kind": "notify"}, "shutdown": "60s", **members}
        return Child(id, target=target if ":" in target else f"services:{target}", **members)

    def start(self, *children: Child, **flags: Any) -> None:
        """A supervisor that never gives up, unless told otherwise."""
        flags = {"max_restarts": 1_000_000, "period": 1.0, "restart": "temporary", **flags}
        self.client[""].start_child(Supervisor(self.id, children=children, **flags))

    def stop_service(self, id: str = "w") -> None:
        self.client.service(self.path(id)).stop()

    def path(self, id: str = "w") -> str:
        return f"{self.id}/{id}" if id else self.id

    def end(self) -> None:
        """Whatever is left of its tree is gone, so that no crash loop runs beside the next one."""
        with suppress(unirun.NotFound):
            self.client[""].terminate_child(self.id)

    # ---- Seeing ----

    def events(self, kind: str, id: str = "w") -> list[dict[str, Any]]:
        path = self.path(id)
        return [event for event in list(self.host.events) if event["event"] == kind and event["path"] == path]

    def wait_for(self, kind: str, id: str = "w", times: int = 1) -> dict[str, Any]:
        """The event of this kind that came as number ``times``."""
        assert eventually(lambda: len(self.events(kind, id)) >= times), self.story()
        return self.events(kind, id)[times - 1]

    def exit_of(self, id: str = "w", times: int = 1) -> dict[str, Any]:
        """Why it ended, the ``times``-th time."""
        reason = self.wait_for("service_exited", id, times)["reason"]
        assert isinstance(reason, dict)
        return reason

    def state(self, id: str = "w") -> str:
        return str(self.client.service(self.path(id)).status()["state"])

    def wait_for_state(self, state: str, id: str = "w") -> None:
        assert eventually(lambda: self.state(id) == state), f"{self.state(id)}\n{self.story()}"

    def status_text(self, pattern: str, id: str = "w") -> None:
        """Wait until the service has said this of itself."""
        texts = [""]

        def said() -> bool:
            texts[:] = [event["text"] for event in self.events("service_status_text", id)]
            return any(re.search(pattern, text) for text in texts)

        assert eventually(said), f"{texts}\n{self.story()}"

    def starts(self, id: str = "w") -> int:
        return len(self.events("service_started", id))

    def story(self) -> str:
        """What this cell's tree went through, for a failed assertion."""
        mine = [event for event in list(self.host.events) if event["path"].split("/")[0] == self.id]
        return "\n".join(str(event) for event in mine[-30:]) or "nothing happened"
