"""`connect`: talk to a running host over its control socket.

HTTP with JSON and server-sent events, as ``docs/openapi.json`` describes; nothing but the
standard library. Errors are those of `unirun.errors`, as a `Host` in this process raises them.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Self
from urllib.parse import quote, urlencode

from unirun.calls import Calls
from unirun.errors import HostUnreachable, NotFound, UnirunError, error_from
from unirun.streams import EventStream, Queue

# Method and path of each request, as in host/control/routes.cpp; a test compares them.
ROUTES = {
    "version": ("GET", "/v1/version"),
    "status": ("GET", "/v1/status"),
    "tree": ("GET", "/v1/tree"),
    "events": ("GET", "/v1/events"),
    "service": ("GET", "/v1/services/{path}"),
    "logs": ("GET", "/v1/logs/{path}"),
    "why": ("GET", "/v1/why/{path}"),
    "metrics": ("GET", "/metrics"),
    "start": ("POST", "/v1/services/{path}/start"),
    "stop": ("POST", "/v1/services/{path}/stop"),
    "restart": ("POST", "/v1/services/{path}/restart"),
    "kill": ("POST", "/v1/services/{path}/kill"),
    "scale": ("POST", "/v1/services/{path}/scale"),
    "which_children": ("GET", "/v1/supervisors/{path}/which_children"),
    "count_children": ("GET", "/v1/supervisors/{path}/count_children"),
    "get_childspec": ("GET", "/v1/supervisors/{path}/get_childspec/{id}"),
    "start_child": ("POST", "/v1/supervisors/{path}/start_child"),
    "terminate_child": ("POST", "/v1/supervisors/{path}/terminate_child"),
    "restart_child": ("POST", "/v1/supervisors/{path}/restart_child"),
    "delete_child": ("POST", "/v1/supervisors/{path}/delete_child"),
    "shutdown": ("POST", "/v1/shutdown"),
}


def connect(host: str | os.PathLike[str] | None = None, *, timeout: float | None = None) -> Client:
    """Reach a running host by its name, or by the path of its control socket.

    Without either, the only host that runs here. ``timeout`` (seconds) bounds each call; a stop
    may take as long as its services do. Raises `HostUnreachable`, and `NotFound` when several
    hosts run and none was named.
    """
    place = _only_socket() if host is None else os.fspath(host)
    if os.sep not in place:
        place = os.path.join(_runtime_dir(), f"{place}.sock")
    client = Client(place, timeout=timeout)
    client.request("version")
    return client


class Client(Calls):
    """A host in another process. Each call is a connection of its own: any thread may make it."""

    def __init__(self, socket_path: str, *, timeout: float | None = None) -> None:
        self.socket_path = socket_path
        self._timeout = timeout
        self.events = EventStream(self._open_queue)
        """Everything that happens from now on: subscribe to it, or iterate over it."""

    def request(self, name: str, /, **arguments: Any) -> Any:
        """Send one request; see `Calls.request`."""
        given = {key: value for key, value in arguments.items() if value is not None}
        try:
            method, target = ROUTES[name]
        except KeyError:
            raise NotFound(f"request: {name!r} is not one of {', '.join(ROUTES)}") from None
        target = target.replace("{path}", quote(given.pop("path", "")) if "{path}" in target else "")
        if "{id}" in target:
            target = target.replace("{id}", quote(given.pop("id"), safe=""))
        target = target.replace("//", "/")  # The root supervisor's path is empty.
        with _Connection(self.socket_path, self._timeout) as connection:
            if method == "GET":
                response = connection.ask(method, target + _query(given))
            else:
                response = connection.ask(method, target, json.dumps(given))
            return _answer(response)

    def since(self, sequence: int) -> EventStream:
        """Events after ``sequence`` from the journal, then those that come; 0 is all there are."""
        return EventStream(
            lambda kinds, capacity, name: SocketQueue(self.socket_path, kinds, capacity, name, since=sequence)
        )

    def shutdown(self, *, now: bool = False) -> None:
        """End the host: in order, or at once."""
        self.request("shutdown", now=now)

    def _open_queue(self, kinds: Sequence[str], capacity: int, name: str) -> Queue:
        return SocketQueue(self.socket_path, kinds, capacity, name)

    def __repr__(self) -> str:
        return f"<unirun.Client {self.socket_path}>"


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Connection:
    """One exchange; a failure of the socket is told as `HostUnreachable`."""

    def __init__(self, path: str, timeout: float | None) -> None:
        self._path = path
        self._http = _UnixConnection(path, timeout)

    def ask(self, method: str, target: str, body: str | None = None, headers: Mapping[str, str] = {}) -> HTTPResponse:
        try:
            self._http.request(method, target, body, {"Connection": "close", **headers})
            return self._http.getresponse()
        except TimeoutError:
            raise error_from("timeout", f"{target} was not done in time; it goes on") from None
        except (OSError, HTTPException) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise HostUnreachable(
                f"no host answers on {self._path}: {reason or type(error).__name__}; is it running (unirun up CONFIG)?"
            ) from error

    def interrupt(self) -> None:
        """Wake whoever reads from it. Thread: any."""
        try:
            self._http.sock.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()


class SocketQueue:
    """A `Queue` that a thread fills from a stream of server-sent events."""

    def __init__(self, path: str, kinds: Sequence[str], capacity: int, name: str, *, since: int | None = None) -> None:
        self._connection = _Connection(path, None)
        self._changed = threading.Condition()
        self._texts: deque[str] = deque()
        self._capacity = capacity
        self._dropped = 0
        self._closed = False
        past = {} if since is None else {"since": since}
        target = "/v1/events" + _query({"follow": 1, "kinds": list(kinds), **past})
        response = self._connection.ask("GET", target, None, {"Accept": "text/event-stream"})
        if response.status >= 400:
            _answer(response)
        threading.Thread(target=self._read, args=(response,), name=name, daemon=True).start()

    def take(self, timeout: float | None) -> list[str]:
        with self._changed:
            self._changed.wait_for(lambda: self._texts or self._closed, timeout)
            taken = list(self._texts)
            self._texts.clear()
            return taken

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._connection.interrupt()

    @property
    def closed(self) -> bool:
        return self._closed

    @property
    def dropped(self) -> int:
        return self._dropped

    def _read(self, response: HTTPResponse) -> None:
        with self._connection:
            try:
                has_number = False
                for line in response:
                    if line.startswith(b"id: "):
                        has_number = True
                    elif line.startswith(b"data: ") and has_number:
                        self._put(line[6:].decode())
                    elif line.startswith(b"data: "):
                        self._hear(json.loads(line[6:]))
                    elif line == b"\n":
                        has_number = False
            except (OSError, HTTPException, ValueError):
                pass  # The end of the host, or of this queue: close() says which.
        self.close()

    def _hear(self, notice: Mapping[str, Any]) -> None:
        """What the server says of this stream, and what therefore is no event of the host."""
        with self._changed:
            self._dropped += int(notice.get("count", 0))

    def _put(self, text: str) -> None:
        with self._changed:
            if len(self._texts) >= self._capacity:
                self._dropped += 1
            else:
                self._texts.append(text)
                self._changed.notify_all()


def _answer(response: HTTPResponse) -> Any:
    body = response.read()
    if response.status < 400 and response.headers.get_content_type() == "text/plain":
        return {"text": body.decode()}
    try:
        answer = json.loads(body)
    except ValueError:
        raise UnirunError(f"the host answered {response.status} without JSON") from None
    if response.status < 400:
        return answer
    error = answer.get("error", {})
    raise error_from(error.get("code", ""), error.get("message", ""), error.get("faults", ()))


def _query(arguments: Mapping[str, Any]) -> str:
    texts = {
        name: ",".join(value) if isinstance(value, list) else value for name, value in arguments.items() if value != []
    }
    return "?" + urlencode(texts) if texts else ""


def _runtime_dir() -> str:
    """Where hosts put their sockets unless told otherwise, as host/config decides it."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    return os.path.join(base, "unirun") if base else f"/tmp/unirun-{os.getuid()}"


def _only_socket() -> str:
    folder = _runtime_dir()
    try:
        names = sorted(name for name in os.listdir(folder) if name.endswith(".sock"))
    except OSError:
        names = []
    if not names:
        raise HostUnreachable(f"no host runs here: {folder} has no socket; say: unirun up CONFIG")
    if len(names) > 1:
        known = ", ".join(name.removesuffix(".sock") for name in names)
        raise NotFound(f"several hosts run here; name one of {known}")
    return os.path.join(folder, names[0])
