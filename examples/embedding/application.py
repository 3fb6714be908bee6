"""An ASGI application for asgi_server.cpp, without a framework; one of Starlette's or FastAPI's goes as well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Event = dict[str, Any]
Receive = Callable[[], Awaitable[Event]]
Send = Callable[[Event], Awaitable[None]]


async def lifespan(state: Event, receive: Receive, send: Send) -> None:
    await receive()
    state["visits"] = {}
    await send({"type": "lifespan.startup.complete"})
    await receive()
    print("visits:", state["visits"])
    await send({"type": "lifespan.shutdown.complete"})


async def body_of(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        event = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            return bytes(body)


async def app(scope: Event, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await lifespan(scope["state"], receive, send)
        return
    visits: dict[str, int] = scope["state"]["visits"]
    path: str = scope["path"]
    visits[path] = visits.get(path, 0) + 1
    body = await body_of(receive)
    await asyncio.sleep(0.01)  # Another request has its turn meanwhile.
    text = f"{scope['method']} {path}, visit {visits[path]}, {len(body)} bytes\n"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": text.encode()})
