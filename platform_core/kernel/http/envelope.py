"""What every request gets before any route sees it: an id, a language, a trace, a version, and bounds on its size.

One pure ASGI layer. It answers 431, 414, 413 and 400 `kernel.version_unknown` itself, and any
`PlatformError` that comes up through it before an answer began, so that a route served as plain ASGI may raise like
every other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.errors import PlatformError, declare
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.i18n import Language, Text, negotiate
from platform_core.kernel.ids import Ids
from platform_core.kernel.telemetry import Correlation, continue_trace, correlated

VERSION: Final = "2026-11-22"
"""The newest version of the API, and what a caller without the header gets."""
BODY_BYTES_MAX: Final = 256 * 1024
DISCARDED_BYTES_MAX: Final = 16 * 1024 * 1024
DISCARDED_S_MAX: Final = 5.0
HEADERS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 32 * 1024
TARGET_BYTES_MAX: Final = 8 * 1024
_CLIENT_REQUEST_ID_MAX: Final = 128
_SCOPE_KEY: Final = "arsenal.envelope"
_READ: Final = frozenset(
    {
        b"content-length",
        b"accept-language",
        b"arsenal-version",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"expect",
    }
)

BODY_TOO_LARGE: Final = declare(
    "kernel.body_too_large",
    status=413,
    title=Text(en="The body is too large", zh="请求体过大"),
    detail=Text(en="A body holds at most {limit} bytes.", zh="请求体不得超过 {limit} 字节。"),
    hint=Text(en="Send less, or several requests.", zh="请减少内容，或分多次请求发送。"),
)
HEADERS_TOO_LARGE: Final = declare(
    "kernel.headers_too_large",
    status=431,
    title=Text(en="The headers are too large", zh="请求头过大"),
    detail=Text(
        en="A request has at most {count} headers of {limit} bytes together.",
        zh="请求头至多 {count} 个，合计不超过 {limit} 字节。",
    ),
    hint=Text(en="Send fewer or shorter headers.", zh="请减少或缩短请求头。"),
)
TARGET_TOO_LONG: Final = declare(
    "kernel.target_too_long",
    status=414,
    title=Text(en="The address is too long", zh="请求地址过长"),
    detail=Text(en="Path and query hold at most {limit} bytes.", zh="路径与查询参数合计不得超过 {limit} 字节。"),
    hint=Text(en="Shorten the filters.", zh="请缩短筛选条件。"),
)
VERSION_UNKNOWN: Final = declare(
    "kernel.version_unknown",
    status=400,
    title=Text(en="Unknown API version", zh="未知的 API 版本"),
    detail=Text(en="Arsenal-Version names no version of this API.", zh="Arsenal-Version 不是本 API 的有效版本。"),
    hint=Text(en="Use one of: {versions}.", zh="请使用以下版本之一：{versions}。"),
)


@dataclass(slots=True)
class Envelope:
    """What is known about a request before it is routed."""

    request_id: str
    language: Language
    correlation: Correlation
    version: str
    """The version to answer in, echoed: the caller's, else the newest; access may put the app's pinned one here."""
    is_version_named: bool
    """Whether the caller named the version itself; a pinned one must not replace it then."""
    client_request_id: str | None
    """The caller's X-Request-Id, at most 128 visible ASCII characters: for the request log, never adopted."""


def envelope_of(scope: Scope) -> Envelope:
    """The envelope of a request that came through `RequestEnvelope`. KeyError when it did not."""
    envelope: Envelope = scope[_SCOPE_KEY]
    return envelope


class RequestEnvelope:
    """The ASGI layer; `Application` puts it around everything that answers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ids: Ids,
        problems: Problems,
        versions: Sequence[str] = (VERSION,),
        body_bytes_max: int = BODY_BYTES_MAX,
        entropy: Callable[[int], bytes] = process_entropy,
    ) -> None:
        """`versions`: all that are served, oldest first; the last is the default."""
        self._app = app
        self._ids = ids
        self._problems = problems
        self._versions = tuple(versions)
        self._body_bytes_max = body_bytes_max
        self._entropy = entropy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, refusal = _read_headers(scope)
        envelope = self._open(headers)
        scope[_SCOPE_KEY] = envelope
        stamped = _StampedSend(send, envelope)
        with correlated(envelope.correlation):
            try:
                if refusal is None:
                    refusal = self._refusal(scope, headers, envelope)
                if refusal is not None:
                    if refusal.declared is BODY_TOO_LARGE and b"expect" not in headers:
                        await _discard(receive)
                    raise refusal
                await self._app(scope, _BoundedReceive(receive, self._body_bytes_max), stamped)
            except PlatformError as error:
                if stamped.has_begun:
                    raise
                answer = self._problems.answer(
                    error, language=envelope.language, request_id=envelope.request_id, scope=scope
                )
                await answer(scope, receive, stamped)

    def _open(self, headers: dict[bytes, bytes]) -> Envelope:
        request_id = self._ids.mint("req")
        language = headers.get(b"accept-language")
        version = headers.get(b"arsenal-version")
        traceparent = headers.get(b"traceparent")
        tracestate = headers.get(b"tracestate")
        client_id = headers.get(b"x-request-id")
        return Envelope(
            request_id=request_id,
            language=negotiate(language.decode("latin-1") if language else None, self._problems.language),
            correlation=continue_trace(
                traceparent.decode("latin-1") if traceparent else None,
                tracestate=tracestate.decode("latin-1") if tracestate else None,
                request_id=request_id,
                entropy=self._entropy,
            ),
            version=self._versions[-1] if version is None else version.decode("latin-1"),
            is_version_named=version is not None,
            client_request_id=_visible(client_id) if client_id else None,
        )

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes], envelope: Envelope) -> PlatformError | None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > self._body_bytes_max):
            return _too_large(self._body_bytes_max)
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > TARGET_BYTES_MAX:
            return TARGET_TOO_LONG.error({"limit": TARGET_BYTES_MAX})
        if envelope.version not in self._versions:
            envelope.version = self._versions[-1]
            return VERSION_UNKNOWN.error({"versions": ", ".join(self._versions)}, param="/header/Arsenal-Version")
        return None


class _BoundedReceive:
    """Hands the body on and refuses it as soon as more came than is allowed, whatever Content-Length said."""

    __slots__ = ("_left", "_limit", "_receive")

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                if message.get("more_body", False):
                    await _discard(self._receive)
                raise _too_large(self._limit)
        return message


class _StampedSend:
    """Puts Request-Id and Arsenal-Version on the answer."""

    __slots__ = ("_envelope", "_send", "has_begun")

    def __init__(self, send: Send, envelope: Envelope) -> None:
        self._send = send
        self._envelope = envelope
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.has_begun = True
            stamp = (
                (b"request-id", self._envelope.request_id.encode()),
                (b"arsenal-version", self._envelope.version.encode()),
            )
            message = {**message, "headers": [*message.get("headers", ()), *stamp]}
        await self._send(message)


async def _discard(receive: Receive) -> None:
    """Read the rest of a refused body and keep nothing of it, within bounds of bytes and time.

    Most clients send the whole body before they read: were the connection closed at once, they would see a reset and no
    answer.
    """
    left = DISCARDED_BYTES_MAX
    with suppress(TimeoutError):
        async with asyncio.timeout(DISCARDED_S_MAX):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large(limit: int) -> PlatformError:
    """413; the connection is closed so that what is beyond the bounds of `_discard` is not read."""
    return BODY_TOO_LARGE.error({"limit": limit}, headers={"connection": "close"})


def _read_headers(scope: Scope) -> tuple[dict[bytes, bytes], PlatformError | None]:
    """The headers this layer reads, and the refusal when there are too many or they are too long."""
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    found: dict[bytes, bytes] = {}
    total = 0
    for name, value in headers:
        total += len(name) + len(value)
        if name in _READ:
            found[name] = value
    if total > HEADERS_BYTES_MAX or len(headers) > HEADERS_MAX:
        return {}, HEADERS_TOO_LARGE.error({"count": HEADERS_MAX, "limit": HEADERS_BYTES_MAX})
    return found, None


def _visible(value: bytes) -> str | None:
    text = value.decode("latin-1")
    is_kept = len(text) <= _CLIENT_REQUEST_ID_MAX and text.isascii() and text.isprintable() and " " not in text
    return text if is_kept else None
