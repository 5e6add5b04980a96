"""An answer of an older version: held back until it is whole, downgraded, then sent on.

Requests of the newest version pass with one comparison.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from starlette.types import Message, Scope, Send

if TYPE_CHECKING:
    from platform_core.kernel.http.envelope import Envelope

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
"""Writes what `strict_json` read: a Decimal stands for a number there."""


def operation_of(scope: Scope) -> str | None:
    """The operationId of the route that a request met, None before routing and for routes that have none."""
    operation: str | None = getattr(scope.get("route"), "operation_id", None)
    return operation


class RecastSend:
    """Stands between the application and `_StampedSend`; touches nothing but JSON answers below 300."""

    __slots__ = ("_body", "_envelope", "_scope", "_send", "_start")

    def __init__(self, send: Send, scope: Scope, envelope: Envelope) -> None:
        self._send = send
        self._scope = scope
        self._envelope = envelope
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        envelope = self._envelope
        if envelope.version == envelope.versions.newest:
            await self._send(message)
        elif message["type"] == "http.response.start" and self._is_recast(message):
            self._start = message
        elif self._start is not None:
            self._body += message.get("body", b"")
            if not message.get("more_body", False):
                await self._finish(self._start)
        else:
            await self._send(message)

    def _is_recast(self, start: Message) -> bool:
        if start["status"] >= 300 or operation_of(self._scope) is None:
            return False
        media_type = dict(_headers(start)).get(b"content-type", b"")
        return media_type.startswith(b"application/json") and self._envelope.versions.differs(self._envelope.version)

    async def _finish(self, start: Message) -> None:
        envelope, operation = self._envelope, operation_of(self._scope)
        assert operation is not None, "only answers of operations are held back"
        document = envelope.versions.downgrade_answer(
            operation, msgspec.json.decode(self._body), version=envelope.version
        )
        body = ENCODER.encode(document)
        kept = [(name, value) for name, value in _headers(start) if name != b"content-length"]
        await self._send({**start, "headers": [*kept, (b"content-length", b"%d" % len(body))]})
        await self._send({"type": "http.response.body", "body": body})


def _headers(start: Message) -> list[tuple[bytes, bytes]]:
    return list(start.get("headers", ()))
