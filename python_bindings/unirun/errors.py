"""Errors: one class for each word of ``Errc`` (``framework/result.h``).

Each is a `UnirunError` and also the closest built-in, so that ``except KeyError`` and
``except unirun.NotFound`` both read well. ``code`` holds the word, as JSON and the CLI show it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any


class UnirunError(Exception):
    """Whatever unirun refuses or fails to do. Its message says what, where, and what is right."""

    code = ""
    """The word of ``Errc``."""


class AlreadyStarted(UnirunError, RuntimeError):
    """start_child: a child of this id is running."""

    code = "already_started"


class AlreadyPresent(UnirunError, RuntimeError):
    """start_child: a child of this id is known and does not run; say restart_child."""

    code = "already_present"


class NotFound(UnirunError, KeyError):
    """No such supervisor, child or service."""

    code = "not_found"

    def __str__(self) -> str:  # KeyError would show the message in quotes.
        return Exception.__str__(self)


class ChildRunning(UnirunError, RuntimeError):
    """delete_child, restart_child: the child is running."""

    code = "running"


class ChildRestarting(UnirunError, RuntimeError):
    """delete_child, restart_child: the child is about to be restarted."""

    code = "restarting"


class SimpleOneForOne(UnirunError, RuntimeError):
    """This call does not exist for a dynamic supervisor."""

    code = "simple_one_for_one"


class InvalidChildSpec(UnirunError, ValueError):
    """A child spec contradicts itself or its supervisor."""

    code = "invalid_child_spec"


class InvalidSupervisorSpec(UnirunError, ValueError):
    """A supervisor's flags are out of range."""

    code = "invalid_supervisor_spec"


class DuplicateId(UnirunError, ValueError):
    """Two children of one supervisor have the same id."""

    code = "duplicate_id"


class StartFailed(UnirunError, RuntimeError):
    """A child, or a whole tree, did not come to run."""

    code = "start_failed"


class ShuttingDown(UnirunError, RuntimeError):
    """The supervisor or the host is on its way down."""

    code = "shutting_down"


class InvalidArgument(UnirunError, ValueError):
    """An argument of a call is not what the call takes."""

    code = "invalid_argument"


class InvalidConfiguration(UnirunError, ValueError):
    """A tree or a configuration has faults; nothing was started."""

    code = "invalid_configuration"

    def __init__(self, message: str, faults: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.faults: tuple[Mapping[str, Any], ...] = tuple(faults)
        """Every fault: its JSON pointer, line, what was found and what was expected."""


class SystemFailure(UnirunError, OSError):
    """The operating system refused something."""

    code = "system"


class ReadWriteFailure(UnirunError, OSError):
    """A file or a socket could not be read or written."""

    code = "io"


class HostUnreachable(UnirunError, ConnectionError):
    """No host answers on that socket."""

    code = "unreachable_host"


class PermissionDenied(UnirunError, PermissionError):
    """The caller may not do that."""

    code = "permission_denied"


class CallTimeout(UnirunError, TimeoutError):
    """The call ran out of its time; what it asked for may still happen."""

    code = "timeout"


class CallCancelled(UnirunError, RuntimeError):
    """The call was called off before it was served."""

    code = "cancelled"


class Unsupported(UnirunError, NotImplementedError):
    """Not on this system, or not by this executor."""

    code = "unsupported"


class TargetError(UnirunError, ImportError):
    """A Python target does not name anything that can run. Raised in the worker."""

    code = "start_failed"


class WorkerCrashed(UnirunError, RuntimeError):
    """The worker process that made this call died; the pool goes on."""

    code = "worker_crashed"

    def __init__(self, message: str, *, exitcode: int | None = None, stacks: str = "") -> None:
        super().__init__(message)
        self.exitcode = exitcode
        """As `multiprocessing.Process.exitcode`: negative is the signal that ended it."""
        self.stacks = stacks
        """The stacks of all of its threads, where a fault of the process itself ended it."""

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\n{self.stacks}" if self.stacks else text


class TaskTimeout(UnirunError, TimeoutError):
    """The call took longer than it may; its worker process was ended."""

    code = "task_timeout"


OF_POOLS = (WorkerCrashed, TaskTimeout)
"""Errors that have no word of ``Errc``: no host raises them."""

BY_CODE: dict[str, type[UnirunError]] = {
    kind.code: kind for kind in UnirunError.__subclasses__() if kind is not TargetError and kind not in OF_POOLS
}


def error_from(code: str, message: str, faults: Sequence[Mapping[str, Any]] = ()) -> UnirunError:
    """The exception for an ``Errc`` word; for a word unknown here, a plain `UnirunError`."""
    kind = BY_CODE.get(code, UnirunError)
    if kind is InvalidConfiguration:
        return InvalidConfiguration(message, faults)
    error = kind(message)
    error.code = code
    return error
