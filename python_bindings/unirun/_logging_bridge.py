"""From `logging` to the host: every record of the root logger becomes a ``log`` frame.

Importing `logging` costs a third of a worker's start, so the bridge waits for the service to
do it.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.abc import Loader
    from importlib.machinery import ModuleSpec
    from logging import LogRecord
    from types import ModuleType
    from typing import Any

    from unirun._channel import Channel

MAX_MESSAGE_CHARACTERS = 64 << 10
MAX_EXTRA = 50  # Members, and characters of each.
MAX_EXTRA_CHARACTERS = 4 << 10

DEFAULT_LEVEL = "info"

_known: set[str] = set()  # What every record has.


def install(channel: Channel, level: str) -> None:
    """Send the root logger's records from ``level`` on to ``channel``, once there is `logging`."""
    if "logging" in sys.modules:
        attach(channel.send, level)
    else:
        sys.meta_path.insert(0, _WhenImported(channel, level))


def set_level(level: str) -> None:
    """Send records from ``level`` on. To be called once, and only where another was installed."""
    if logging := sys.modules.get("logging"):
        logging.getLogger().setLevel(level.upper())  # Looks at every logger that there is.
    for finder in sys.meta_path:
        if isinstance(finder, _WhenImported):
            finder.level = level


def attach(
    send: Callable[[dict[str, Any]], object], level: str | None = None, wants: Callable[[], bool] | None = None
) -> None:
    """Give the root logger's records to ``send`` as frames: all of them, or those made while ``wants()``.

    Without ``level`` the root logger keeps its own.
    """
    import logging
    from _thread import get_ident

    sending: set[int] = set()  # Threads inside emit(): what they log there would come back here.

    class ChannelHandler(logging.Handler):
        def emit(self, record: LogRecord) -> None:
            thread = get_ident()
            if thread in sending or (wants is not None and not wants()):
                return
            sending.add(thread)
            try:
                send(
                    {
                        "type": "log",
                        "level": record.levelname,
                        "logger": record.name,
                        "message": self.format(record)[:MAX_MESSAGE_CHARACTERS],
                        "file": record.pathname,
                        "line": record.lineno,
                        "extra": _extra_of(record),
                    }
                )
            except Exception:
                self.handleError(record)
            finally:
                sending.discard(thread)

    _known.update(logging.makeLogRecord({}).__dict__, ("message", "asctime"))
    root = logging.getLogger()
    root.addHandler(ChannelHandler())
    if level is not None:
        root.setLevel(level.upper())


def _extra_of(record: LogRecord) -> dict[str, str]:
    """What ``extra=`` gave the record, as texts; a value that cannot be one says so."""
    if len(record.__dict__) <= len(_known) and _known.issuperset(record.__dict__):
        return {}
    extra: dict[str, str] = {}
    for name, value in record.__dict__.items():
        if name in _known:
            continue
        if len(extra) == MAX_EXTRA:
            break
        try:
            extra[str(name)] = str(value)[:MAX_EXTRA_CHARACTERS]
        except Exception as failure:
            extra[str(name)] = f"<str() of it raised {type(failure).__name__}>"
    return extra


class _WhenImported:
    """A finder that finds nothing; it only sees the import of `logging` go by, once."""

    def __init__(self, channel: Channel, level: str) -> None:
        self._channel = channel
        self.level = level

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "logging":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                spec.loader = _ThenAttach(spec.loader, self._channel, self.level)  # type: ignore[assignment]
                return spec
        return None


class _ThenAttach:
    """A loader for one use: loads as the real one does, then attaches the handler."""

    def __init__(self, loader: Loader, channel: Channel, level: str) -> None:
        self._loader = loader
        self._channel = channel
        self._level = level

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        attach(self._channel.send, self._level)
