"""Answers that leave in one piece.

uvicorn writes the head of an answer and then its body, and uvloop sends each at once: two system calls and two packets
where one does. Seen with uvicorn 0.54 and uvloop 0.23; the test says when it is no longer needed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class OneWriteProtocol(HttpToolsProtocol):
    """uvicorn's protocol, whose transport keeps a head back until the next write."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn types it
        """A connection; see `asyncio.Protocol`."""
        super().connection_made(transport)
        self.transport = HeadKeeper(transport, self.loop)  # type: ignore[assignment]  # a transport in all that it uses


class HeadKeeper:
    """A transport that sends the head of an answer with what follows it, or alone when nothing does in this turn."""

    __slots__ = ("_head", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._head = b""

    def __getattr__(self, name: str) -> Any:  # Any: whatever the transport has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send it, with the head that waits; or keep it, if it is a head itself."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.endswith(b"\r\n\r\n") and data.startswith(b"HTTP/1.1 "):
            self._head = data
            self._loop.call_soon(self._flush)
            return
        self._transport.write(data)

    def close(self) -> None:
        """Send what waits, then close."""
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        if self._head:
            data, self._head = self._head, b""
            if not self._transport.is_closing():
                self._transport.write(data)
