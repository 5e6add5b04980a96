"""The door: /gateway.do in front of everything else, and addresses in absolute form made plain.

It stands outside of the platform's own layers, because the protocol has rules of its own: status 200 whatever happens,
no token, and with GET all of a request in the query.
"""

from __future__ import annotations

import asyncio
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from sandbox.simulators.alipay_gateway.gateway import Answer, Gateway
from sandbox.simulators.alipay_gateway.protocol import BODY_BYTES_MAX

PATH: Final = "/gateway.do"
DISCARDED_BYTES_MAX: Final = 4 * 1024 * 1024
_SHORT: Final = 4096


class AlipayDoor:
    """The ASGI layer; the outermost one of a sandbox."""

    def __init__(self, app: ASGIApp, gateway: Gateway) -> None:
        """`app`: who answers everything else."""
        self._app = app
        self._gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        _make_plain(scope)
        if scope["path"] != PATH or scope["method"] not in ("GET", "POST"):
            await self._app(scope, receive, send)
            return
        body = await _body_of(receive)
        await _send(await self._gateway.answer(scope["query_string"], body), send)


def _make_plain(scope: Scope) -> None:
    """Reduce a target in absolute form to its path: a server accepts both (RFC 9112, section 3.2.2).

    alipay-sdk-python sends `POST http://host/gateway.do?...`; httptools reads that by itself, h11 hands it on.
    """
    path: str = scope["path"]
    if path.startswith("/") or "://" not in path:
        return
    scope["path"] = urlsplit(path).path or "/"
    raw = scope.get("raw_path")
    if raw:
        _, _, rest = raw.partition(b"://")
        scope["raw_path"] = b"/" + rest.partition(b"/")[2]


async def _body_of(receive: Receive) -> bytes | None:
    """The form; None for one that is too long, of which the rest is read and forgotten, within bounds."""
    body = bytearray()
    seen = 0
    while True:
        message = await receive()
        piece: bytes = message.get("body", b"")
        seen += len(piece)
        if seen <= BODY_BYTES_MAX:
            body += piece
        if not message.get("more_body", False) or seen > DISCARDED_BYTES_MAX:
            break
    return bytes(body) if seen <= BODY_BYTES_MAX else None


async def _send(answer: Answer, send: Send) -> None:
    status, body, length = 200, answer.body, len(answer.body)
    fault = answer.fault
    if fault is not None and fault.effect == "latency":
        await asyncio.sleep(int(fault.argument or "0") / 1000)
    if fault is not None and fault.effect == "http_status":
        status, body, length = int(fault.argument), b"", 0
    if fault is not None and fault.effect == "truncated":
        body = body[: len(body) // 2]
    if fault is not None and fault.effect in ("drop_before", "drop_after"):
        body, length = b"", _SHORT  # less than was promised: the server ends the connection
    headers = [
        (b"content-type", f"application/json;charset={answer.charset}".encode()),
        (b"content-length", str(length).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
