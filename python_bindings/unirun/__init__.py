"""unirun keeps services alive by Erlang's rules.

A host runs supervisors; a supervisor starts, watches, restarts and stops services. Names are
imported when they are first used, so that a worker process pays for nothing it does not need.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from unirun import events
    from unirun.cancellation import CancellationToken, Cancelled
    from unirun.client import Client, connect
    from unirun.errors import (
        AlreadyPresent,
        AlreadyStarted,
        CallCancelled,
        CallTimeout,
        ChildRestarting,
        ChildRunning,
        DuplicateId,
        HostUnreachable,
        InvalidArgument,
        InvalidChildSpec,
        InvalidConfiguration,
        InvalidSupervisorSpec,
        NotFound,
        PermissionDenied,
        ReadWriteFailure,
        ShuttingDown,
        SimpleOneForOne,
        StartFailed,
        SystemFailure,
        TargetError,
        UnirunError,
        Unsupported,
    )
    from unirun.host import Host
    from unirun.loop import Runner, new_event_loop
    from unirun.service import Ignore, Service, ServiceContext
    from unirun.tree import Child, Supervisor

    __version__: str

_HOME = {
    "Child": "tree",
    "Client": "client",
    "Host": "host",
    "Runner": "loop",
    "Supervisor": "tree",
    "connect": "client",
    "new_event_loop": "loop",
    "CancellationToken": "cancellation",
    "Cancelled": "cancellation",
    "Ignore": "service",
    "Service": "service",
    "ServiceContext": "service",
    "AlreadyPresent": "errors",
    "AlreadyStarted": "errors",
    "CallCancelled": "errors",
    "CallTimeout": "errors",
    "ChildRestarting": "errors",
    "ChildRunning": "errors",
    "DuplicateId": "errors",
    "HostUnreachable": "errors",
    "InvalidArgument": "errors",
    "InvalidChildSpec": "errors",
    "InvalidConfiguration": "errors",
    "InvalidSupervisorSpec": "errors",
    "NotFound": "errors",
    "PermissionDenied": "errors",
    "ReadWriteFailure": "errors",
    "ShuttingDown": "errors",
    "SimpleOneForOne": "errors",
    "StartFailed": "errors",
    "SystemFailure": "errors",
    "TargetError": "errors",
    "UnirunError": "errors",
    "Unsupported": "errors",
}

__all__ = [
    "AlreadyPresent",
    "AlreadyStarted",
    "CallCancelled",
    "CallTimeout",
    "CancellationToken",
    "Cancelled",
    "Child",
    "ChildRestarting",
    "ChildRunning",
    "Client",
    "DuplicateId",
    "Host",
    "HostUnreachable",
    "Ignore",
    "InvalidArgument",
    "InvalidChildSpec",
    "InvalidConfiguration",
    "InvalidSupervisorSpec",
    "NotFound",
    "PermissionDenied",
    "ReadWriteFailure",
    "Runner",
    "Service",
    "ServiceContext",
    "ShuttingDown",
    "SimpleOneForOne",
    "StartFailed",
    "Supervisor",
    "SystemFailure",
    "TargetError",
    "UnirunError",
    "Unsupported",
    "connect",
    "events",
    "new_event_loop",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    home = _HOME.get(name)
    if home is not None:
        value = getattr(import_module(f"unirun.{home}"), name)
    elif name == "__version__":
        value = import_module("unirun._core").__version__
    elif name == "events":
        value = import_module("unirun.events")
    else:
        raise AttributeError(f"module 'unirun' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
