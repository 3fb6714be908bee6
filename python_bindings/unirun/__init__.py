"""unirun keeps services alive by Erlang's rules.

A host runs supervisors; a supervisor starts, watches, restarts and stops services. Names are
imported when they are first used, so that a worker process pays for nothing it does not need.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from unirun import events
    from unirun._embed import Interrupted as Interrupted
    from unirun._embed import async_call as async_call
    from unirun._embed import call as call
    from unirun._embed import functions as functions
    from unirun._embed import shield as shield
    from unirun.api import map, run, submit  # noqa: A004
    from unirun.cancellation import CancellationToken, Cancelled
    from unirun.capabilities import RuntimeCapabilities, detect_capabilities
    from unirun.client import Client, connect
    from unirun.config import RuntimeConfig
    from unirun.decisions import DecisionTrace, add_decision_listener, observe_decisions, remove_decision_listener
    from unirun.embed import state
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
    from unirun.executors.async_bridge import to_process, to_thread, wrap_future
    from unirun.host import Host
    from unirun.loop import Runner, new_event_loop
    from unirun.scheduler import (
        configure,
        get_executor,
        interpreter_executor,
        last_decision,
        process_executor,
        reset,
        thread_executor,
    )
    from unirun.scope import Run, RunFlavor
    from unirun.service import Ignore, Service, ServiceContext
    from unirun.tree import Child, Supervisor

    __version__: str

_HOME = {
    "DecisionTrace": "decisions",
    "Run": "scope",
    "RunFlavor": "scope",
    "RuntimeCapabilities": "capabilities",
    "RuntimeConfig": "config",
    "add_decision_listener": "decisions",
    "configure": "scheduler",
    "detect_capabilities": "capabilities",
    "get_executor": "scheduler",
    "interpreter_executor": "scheduler",
    "last_decision": "scheduler",
    "map": "api",
    "observe_decisions": "decisions",
    "process_executor": "scheduler",
    "remove_decision_listener": "decisions",
    "reset": "scheduler",
    "run": "api",
    "submit": "api",
    "thread_executor": "scheduler",
    "to_process": "executors.async_bridge",
    "to_thread": "executors.async_bridge",
    "wrap_future": "executors.async_bridge",
    "state": "embed",
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

# Of the C++ program that runs this Python; there is none in an ordinary process.
_EMBEDDED = frozenset({"Interrupted", "async_call", "call", "functions", "shield"})

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
    "DecisionTrace",
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
    "Run",
    "RunFlavor",
    "Runner",
    "RuntimeCapabilities",
    "RuntimeConfig",
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
    "add_decision_listener",
    "configure",
    "connect",
    "detect_capabilities",
    "events",
    "get_executor",
    "interpreter_executor",
    "last_decision",
    "map",
    "new_event_loop",
    "observe_decisions",
    "process_executor",
    "remove_decision_listener",
    "reset",
    "run",
    "state",
    "submit",
    "thread_executor",
    "to_process",
    "to_thread",
    "wrap_future",
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
    elif name in _EMBEDDED:
        return _of_embedding_program(name)
    else:
        raise AttributeError(f"module 'unirun' has no attribute {name!r}")
    globals()[name] = value
    return value


def _of_embedding_program(name: str) -> Any:
    import sys

    module = sys.modules.get("unirun._embed")
    if module is None:
        raise AttributeError(f"unirun.{name} is there where a C++ program runs Python, and none runs this one")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
