"""What can be asked of a running host and said to it, from within (`Host`) or without (`Client`).

Both send the same requests (``host/requests/requests.h``); the classes here give them their Python names.
Commands return when they are done. Errors: subclasses of `unirun.UnirunError`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unirun.tree import Child, Supervisor

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ChildHandle:
    """A child at the moment of asking, and the handle of its present run."""

    id: str
    path: str
    pid: int | None
    run: int | None
    """Names one life of it; `None` while nothing runs."""
    state: str
    type: str


@dataclass(frozen=True, slots=True)
class ChildCounts:
    """OTP's ``count_children``."""

    specs: int
    active: int
    supervisors: int
    workers: int


class Calls(ABC):
    """A host that can be reached."""

    @abstractmethod
    def request(self, name: str, /, **arguments: Any) -> Any:
        """Send one request by its name, and return its answer as JSON values.

        Arguments that are `None` are not sent.
        """

    def __getitem__(self, path: str) -> SupervisorCalls:
        """The supervisor at ``path``: ``host["pipeline"]``; ``""`` is the root.

        Raises `NotFound` where there is none.
        """
        supervisor = SupervisorCalls(self, path)
        supervisor.count_children()  # Asks whether there is such a supervisor.
        return supervisor

    def service(self, path: str) -> ServiceCalls:
        """The service at ``path``, or all ``instances`` of it. Raises `NotFound`."""
        service = ServiceCalls(self, path)
        service.status()
        return service

    def status(self) -> Json:
        """The host, and every supervisor and service in one list."""
        return dict(self.request("status"))

    def tree(self) -> Json:
        """The host, and its supervisors with what is below them."""
        return dict(self.request("tree"))

    def logs(self, path: str, *, tail: int | None = None) -> list[Json]:
        """The latest ``tail`` lines of a service's output, oldest first."""
        return list(self.request("logs", path=path, tail=tail)["lines"])

    def why(self, path: str) -> Json:
        """The deaths of a service, the latest first.

        Each of ``"deaths"`` has its reason (with traceback, stacks and peak memory where they are
        known), its last lines, how often this cause was seen, the rule that applied, what was
        decided, the delay, and what else was stopped. ``"causes"`` counts every cause, and
        ``"storm"`` tells when the latest deaths all had the same.
        """
        return dict(self.request("why", path=path))

    def metrics(self) -> str:
        """The host and its services in numbers, in Prometheus' text format (version 0.0.4)."""
        return str(self.request("metrics")["text"])

    def history(
        self,
        *,
        limit: int | None = None,
        since: int | None = None,
        path: str | None = None,
        kinds: Sequence[str] | None = None,
    ) -> list[Json]:
        """Events from the journal, oldest first; ``since`` is a sequence number."""
        answer = self.request("events", limit=limit, since=since, path=path, kinds=list(kinds) if kinds else None)
        return list(answer["events"])


class SupervisorCalls:
    """A running supervisor, with the calls that OTP gives it, under their own names."""

    def __init__(self, host: Calls, path: str) -> None:
        self._host = host
        self.path = path

    def start_child(
        self, child: Child | Supervisor | Mapping[str, Any] | None = None, *, arguments: Sequence[Any] = ()
    ) -> ChildHandle:
        """Add a child and start it; of a dynamic supervisor, start one more with ``arguments``.

        Of a child with ``instances`` all are started, and the first is returned.

        Raises `AlreadyStarted` or `AlreadyPresent` for an id that is there, `StartFailed` when it
        does not come up (nothing is kept then), `InvalidConfiguration` for a faulty spec.
        """
        if child is None:
            return self._handle("start_child", arguments=list(arguments))
        spec = child.to_json() if isinstance(child, (Child, Supervisor)) else dict(child)
        answer = self._call("start_child", child=spec)
        return _handle_from(answer["children"][0] if "children" in answer else answer)

    def terminate_child(self, child: str | ChildHandle) -> None:
        """Stop a child and keep its spec, unless it is temporary. Fine if it does not run.

        Raises `NotFound`; `SimpleOneForOne` for a dynamic supervisor's child by id: give its
        handle.
        """
        self._call("terminate_child", **_reference(child))

    def restart_child(self, child: str | ChildHandle) -> ChildHandle:
        """Start a child that does not run.

        Raises `ChildRunning`, `ChildRestarting`, `NotFound`, `StartFailed`.
        """
        return self._handle("restart_child", **_reference(child))

    def delete_child(self, child: str | ChildHandle) -> None:
        """Forget a child that does not run.

        Raises `ChildRunning`, `ChildRestarting`, `NotFound`.
        """
        self._call("delete_child", **_reference(child))

    def which_children(self) -> list[ChildHandle]:
        """Every child, the newest first."""
        return [_handle_from(child) for child in self._call("which_children")["children"]]

    def which_child(self, child: str | ChildHandle) -> ChildHandle:
        """One child. Raises `NotFound`."""
        name = child.id if isinstance(child, ChildHandle) else child
        place = f"{self.path}/{name}" if self.path else name
        return _handle_from(self._host.request("service", path=place))

    def count_children(self) -> ChildCounts:
        """How many specs, live children, supervisors and workers there are."""
        return ChildCounts(**self._call("count_children"))

    def get_childspec(self, child: str | ChildHandle) -> Json:
        """The spec of a child as JSON, every default filled in. Raises `NotFound`."""
        return dict(self._call("get_childspec", **_reference(child)))

    def _call(self, name: str, **arguments: Any) -> Any:
        return self._host.request(name, path=self.path, **arguments)

    def _handle(self, name: str, **arguments: Any) -> ChildHandle:
        return _handle_from(self._call(name, **arguments))

    def __repr__(self) -> str:
        return f"<supervisor {self.path!r}>"


class ServiceCalls:
    """A running service, or all instances of one."""

    def __init__(self, host: Calls, path: str) -> None:
        self._host = host
        self.path = path

    def status(self) -> Json:
        """Its state, pid, uptime (seconds), restarts and last exit."""
        return dict(self._host.request("service", path=self.path))

    def start(self) -> list[Json]:
        """Start it if it does not run; returns once it is ready."""
        return self._call("start")

    def stop(self) -> list[Json]:
        """Stop it, and keep it stopped; returns once it is down."""
        return self._call("stop")

    def restart(self) -> list[Json]:
        """Stop it and start it again. Costs no restart of its supervisor's intensity."""
        return self._call("restart")

    def kill(self) -> list[Json]:
        """Kill it with SIGKILL; what follows is what follows any crash."""
        return self._call("kill")

    def scale(self, instances: int) -> list[Json]:
        """Run so many instances."""
        return self._call("scale", instances=instances)

    def logs(self, *, tail: int | None = None) -> list[Json]:
        """The latest lines of its output, oldest first."""
        return self._host.logs(self.path, tail=tail)

    def why(self) -> Json:
        """Its deaths, the latest first."""
        return self._host.why(self.path)

    def _call(self, name: str, **arguments: Any) -> list[Json]:
        return list(self._host.request(name, path=self.path, **arguments)["services"])

    def __repr__(self) -> str:
        return f"<service {self.path!r}>"


def _reference(child: str | ChildHandle) -> Json:
    if isinstance(child, str):
        return {"id": child}
    return {"id": child.id} if child.run is None else {"id": child.id, "run": child.run}


def _handle_from(answer: Mapping[str, Any]) -> ChildHandle:
    return ChildHandle(
        id=answer["id"],
        path=answer["path"],
        pid=answer["pid"],
        run=answer["run"],
        state=answer["state"],
        type=answer["type"],
    )
