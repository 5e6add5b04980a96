"""An answer is one write, and nothing is lost where it is none."""

from __future__ import annotations

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from platform_core.kernel.http.one_write import OneWriteProtocol

pytestmark = pytest.mark.unit


class Wire(asyncio.Transport):
    """A transport that notes what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def whole(_: Request) -> Response:
    return Response("paid", headers={"x-test": "1"})


async def empty(_: Request) -> Response:
    return Response(status_code=204)


async def piecewise(_: Request) -> Response:
    async def pieces():  # type: ignore[no-untyped-def]
        for piece in ("one", "two"):
            yield piece
            await asyncio.sleep(0)

    return StreamingResponse(pieces())


APP = Starlette(
    routes=[Route("/whole", whole, methods=["GET", "POST"]), Route("/empty", empty), Route("/piecewise", piecewise)]
)


async def ask(kind: type[HttpToolsProtocol], request: bytes) -> Wire:
    """What a connection of this protocol writes to answer the request."""
    config = Config(APP, lifespan="off", log_config=None, server_header=False, date_header=False)
    config.load()
    protocol = kind(config=config, server_state=ServerState(), app_state={}, _loop=asyncio.get_running_loop())
    wire = Wire()
    protocol.connection_made(wire)
    protocol.data_received(request)
    for _ in range(30):
        await asyncio.sleep(0)
    protocol.connection_lost(None)
    return wire


async def test_head_and_body_are_one_write() -> None:
    request = b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\n"
    by_uvicorn, ours = await ask(HttpToolsProtocol, request), await ask(OneWriteProtocol, request)
    assert len(by_uvicorn.written) == 2, "uvicorn writes once by itself now: one_write.py can go"
    assert ours.written == [b"".join(by_uvicorn.written)]
    assert ours.written[0].endswith(b"\r\n\r\npaid")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /empty HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD /whole HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /piecewise HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /missing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"POST /whole HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n{}",
        b"not http at all\r\n\r\n",
        b"GET /whole HTTP/1.1\r\nHost: x\r\n\r\nGET /whole HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
async def test_the_bytes_are_those_of_uvicorn(request_: bytes) -> None:
    by_uvicorn, ours = await ask(HttpToolsProtocol, request_), await ask(OneWriteProtocol, request_)
    assert b"".join(ours.written) == b"".join(by_uvicorn.written) != b""
    assert ours.is_closed == by_uvicorn.is_closed


async def test_a_head_whose_connection_went_meanwhile_is_not_written() -> None:
    config = Config(APP, lifespan="off", log_config=None)
    config.load()
    protocol = OneWriteProtocol(config=config, server_state=ServerState(), app_state={})
    wire = Wire()
    protocol.connection_made(wire)
    protocol.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
    wire.is_closed = True
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert wire.written == []
