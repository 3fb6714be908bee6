"""Events: everything that happens in a host, as values.

One class per kind, with the members that ``framework/event.h`` gives it; a test holds the two
together. Durations are in seconds (float), times in UTC. ``str(event)`` is one line for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar, Literal

StartCause = Literal["initial", "restart", "command", "sibling", "probe"]
ExitKind = Literal[
    "normal",
    "shutdown",
    "exit_code",
    "signal",
    "exception",
    "killed",
    "start_failed",
    "start_timeout",
    "liveness_timeout",
    "memory_limit",
    "stuck",
]


@dataclass(frozen=True, slots=True)
class ExceptionText:
    """An exception that ended a service, as text."""

    type: str
    message: str
    traceback: str


@dataclass(frozen=True, slots=True)
class ExitReason:
    """Why a service or a supervisor ended."""

    kind: ExitKind
    exit_code: int | None = None
    signal: int | None = None
    core_dumped: bool = False
    detail: str = ""
    """One sentence: the failed step, the probe, the child that failed."""
    exception: ExceptionText | None = None
    stacks: str = ""
    """Every thread's stack, as `faulthandler` wrote it."""
    peak_rss: int | None = None
    """Bytes."""
    permanent_failure: bool = False
    """Not restarted, whatever its restart type."""

    @property
    def is_clean(self) -> bool:
        """Whether a transient child stays down after it."""
        return self.kind in ("normal", "shutdown")


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What all events have."""

    kind: ClassVar[str] = ""
    """The word of the kind, ``"service_exited"``; the same in JSON."""

    sequence: int
    """Grows by one; a gap means that something was dropped."""
    time: datetime
    monotonic: float
    """Seconds of the monotonic clock: subtract these, never ``time``."""
    path: str
    """``"pipeline/ingest"``; empty for the host itself."""

    def to_json(self) -> dict[str, Any]:
        """The event as the journal, the control socket and ``--json`` show it."""
        members = {one.name: _to_json(getattr(self, one.name)) for one in fields(self)}
        return {**members, "event": self.kind}

    def __str__(self) -> str:
        from unirun import _core

        place = f"{self.path} " if self.path else ""
        return f"{self.time:%H:%M:%S.%f}"[:-3] + f" {place}{_core.describe_event(_text(self))}"


# ---- The host ----


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStarted(Event):
    kind: ClassVar[str] = "host_started"
    host: str
    pid: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStopping(Event):
    kind: ClassVar[str] = "host_stopping"
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStopped(Event):
    kind: ClassVar[str] = "host_stopped"
    exit_code: int


# ---- Supervisors ----


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStarted(Event):
    kind: ClassVar[str] = "supervisor_started"
    children: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorGaveUp(Event):
    """More restarts than ``max_restarts`` within ``period``."""

    kind: ClassVar[str] = "supervisor_gave_up"
    child: str
    max_restarts: int
    period: float
    reason: ExitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorProbing(Event):
    """Instead of ending it tries one child per interval."""

    kind: ClassVar[str] = "supervisor_probing"
    child: str
    interval: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorRecovered(Event):
    kind: ClassVar[str] = "supervisor_recovered"
    child: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorStopped(Event):
    kind: ClassVar[str] = "supervisor_stopped"
    reason: ExitReason


# ---- Services ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarting(Event):
    kind: ClassVar[str] = "service_starting"
    run: int
    cause: StartCause
    restarts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStarted(Event):
    """It is ready."""

    kind: ClassVar[str] = "service_started"
    run: int
    pid: int
    startup: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceExited(Event):
    kind: ClassVar[str] = "service_exited"
    run: int
    pid: int
    reason: ExitReason
    uptime: float
    expected: bool
    was_ready: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceBackingOff(Event):
    kind: ClassVar[str] = "service_backing_off"
    delay: float
    attempt: int
    reason: ExitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStopping(Event):
    kind: ClassVar[str] = "service_stopping"
    run: int
    cause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceFailed(Event):
    """For good: nobody restarts it."""

    kind: ClassVar[str] = "service_failed"
    reason: ExitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceCompleted(Event):
    kind: ClassVar[str] = "service_completed"
    reason: ExitReason


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceRemoved(Event):
    kind: ClassVar[str] = "service_removed"


# ---- What a service says of itself ----


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceLog(Event):
    """A record of a Python logger in a worker."""

    kind: ClassVar[str] = "service_log"
    run: int
    level: str
    logger: str
    message: str
    file: str
    line: int
    extra: Mapping[str, str] = field(default_factory=dict, hash=False)
    """What the record carried beside, as texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceStatusText(Event):
    kind: ClassVar[str] = "service_status_text"
    run: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceUnresponsive(Event):
    """It missed its heartbeat or its probe; what follows is its end."""

    kind: ClassVar[str] = "service_unresponsive"
    run: int
    silence: float
    probe: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked(Event):
    """It keeps the host's loop from going on, and still does: ``duration`` in seconds so far.

    ``path`` names the async service, and is empty where it is the host's own work.
    """

    kind: ClassVar[str] = "loop_blocked"
    run: int
    duration: float
    stack: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StraysKilled(Event):
    """Processes that had outlived the service that started them."""

    kind: ClassVar[str] = "strays_killed"
    count: int


# ---- The house itself ----


@dataclass(frozen=True, slots=True, kw_only=True)
class Warning(Event):  # noqa: A001  # The word of the kind, as for all the others.
    """Something is degraded, not stopped."""

    kind: ClassVar[str] = "warning"
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverDropped(Event):
    """An observer was too slow, and its queue full."""

    kind: ClassVar[str] = "observer_dropped"
    observer: str
    count: int


BY_KIND: dict[str, type[Event]] = {kind.kind: kind for kind in Event.__subclasses__()}


def event_from(members: Mapping[str, Any]) -> Event:
    """The event of these JSON members.

    A kind or a member that this version does not know is left out, so that an older client
    understands a newer host. Raises `ValueError` where a known member is missing.
    """
    event_type = BY_KIND.get(members.get("event", ""), Event)
    values: dict[str, Any] = {}
    for name, required in _MEMBERS[event_type]:
        if name in members:
            read = _READERS.get(name)
            values[name] = members[name] if read is None else read(members[name])
        elif required:
            raise ValueError(f"an event of kind {members.get('event')!r} has no {name!r}")
    return event_type(**values)


def exit_reason_from(members: Mapping[str, Any]) -> ExitReason:
    """The exit reason of these JSON members."""
    values = {name: members[name] for name, _ in _REASON_MEMBERS if name in members}
    if (text := values.get("exception")) is not None:
        values["exception"] = ExceptionText(text["type"], text.get("message", ""), text.get("traceback", ""))
    return ExitReason(**values)


def _members(type_: Any) -> tuple[tuple[str, bool], ...]:
    return tuple((one.name, one.default is MISSING and one.default_factory is MISSING) for one in fields(type_))


_MEMBERS = {kind: _members(kind) for kind in (Event, *BY_KIND.values())}
_REASON_MEMBERS = _members(ExitReason)
_READERS: dict[str, Callable[[Any], object]] = {
    "time": datetime.fromisoformat,
    "reason": exit_reason_from,
}


def _to_json(value: object) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, (ExitReason, ExceptionText)):
        members = ((one.name, one.default) for one in fields(value))
        return {name: _to_json(getattr(value, name)) for name, default in members if getattr(value, name) != default}
    return value


def _text(event: Event) -> str:
    return json.dumps(event.to_json())
