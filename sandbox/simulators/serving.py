"""Running a simulator on a thread of its own, and scripting what goes wrong at it."""

from __future__ import annotations

import asyncio
import hmac
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from sandbox.simulators.acquirer.app import DROP
from sandbox.simulators.acquirer.server import STOP_WITHIN_S, listen, server_of, url_of

BODY_BYTES_MAX: Final = 64 * 1024


class Script:
    """Faults that wait for the next calls of an operation, in order."""

    def __init__(self, known: frozenset[str]) -> None:
        """`known`: names of faults that the simulator has."""
        self._known = known
        self._waiting: dict[str, deque[str]] = {}

    def take(self, operation: str) -> str | None:
        """The fault that the call at hand meets."""
        waiting = self._waiting.get(operation)
        return waiting.popleft() if waiting else None

    async def add(self, request: Request) -> Response:
        """`POST /_script {"operation", "fault", "times"}`."""
        told = await request.json()
        if told["fault"] not in self._known:
            return JSONResponse({"code": "UNKNOWN_FAULT", "known": sorted(self._known)}, status_code=422)
        self._waiting.setdefault(told["operation"], deque()).extend([told["fault"]] * int(told.get("times", 1)))
        return JSONResponse({"code": "OK"})


async def lost(request: Request) -> Response:
    """End the connection without an answer."""
    request.scope[DROP]()
    await asyncio.sleep(0)
    return Response(status_code=500)


def is_mac(key: bytes, text: bytes, given: str) -> bool:
    """Whether a header holds the HMAC-SHA256 of a text in hexadecimal."""
    return hmac.compare_digest(hmac.new(key, text, "sha256").hexdigest().encode(), given.encode())


def mac(key: bytes, text: bytes) -> str:
    """HMAC-SHA256 in hexadecimal."""
    return hmac.new(key, text, "sha256").hexdigest()


async def body_of(request: Request) -> bytes | None:
    """The body; None when it is larger than any that a simulator takes."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > BODY_BYTES_MAX:
            return None
    return bytes(raw)


@contextmanager
def running(
    routes: Sequence[BaseRoute], *, script: Script | None = None, book: Callable[[], Any] | None = None
) -> Iterator[str]:
    """Serve on a free loopback port until the end; gives the URL. `book` is shown at `GET /_book`. Any: JSON."""
    ready = threading.Event()

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        ready.set()
        yield

    async def shown(_: Request) -> Response:
        return JSONResponse(None if book is None else book())

    own: list[BaseRoute] = [Route("/_book", shown)]
    if script is not None:
        own.append(Route("/_script", script.add, methods=["POST"]))
    listener = listen("127.0.0.1", 0)
    server = server_of(Starlette(routes=[*routes, *own], lifespan=lifespan))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="simulator", daemon=True)
    thread.start()
    try:
        if not ready.wait(STOP_WITHIN_S):
            raise RuntimeError("the simulator did not start")
        yield url_of(listener)
    finally:
        server.should_exit = True
        thread.join(STOP_WITHIN_S)
