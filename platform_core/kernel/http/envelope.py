"""What every request gets before any route sees it: an id, a language, a trace, and bounds on its size.

One pure ASGI layer. It answers 431, 414 and 413 itself, and any `PlatformError` that comes up through it before an
answer began, so that a route served as plain ASGI may raise like every other. The version is settled later, by whoever
authenticates (`Envelope.settle_version`): 401 and 429 come before 400.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from platform_core.kernel.entropy import entropy as process_entropy
from platform_core.kernel.errors import PlatformError, declare
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.recast import RecastSend
from platform_core.kernel.http.version import ONE_VERSION, Headers, Versions
from platform_core.kernel.i18n import Language, Text, negotiate
from platform_core.kernel.ids import Ids
from platform_core.kernel.telemetry import Correlation, continue_trace, correlated

BODY_BYTES_MAX: Final = 256 * 1024
DISCARDED_BYTES_MAX: Final = 16 * 1024 * 1024
DISCARDED_S_MAX: Final = 5.0
HEADERS_MAX: Final = 100
HEADERS_BYTES_MAX: Final = 32 * 1024
TARGET_BYTES_MAX: Final = 8 * 1024
KEPT_BYTES_MAX: Final = 8 * 1024
"""How much of a body is kept for whoever records requests."""
_CLIENT_REQUEST_ID_MAX: Final = 128
_SCOPE_KEY: Final = "arsenal.envelope"
NO_LARGER: Final[Mapping[str, int]] = MappingProxyType({})
_READ: Final = frozenset(
    {
        b"content-length",
        b"accept-language",
        b"arsenal-version",
        b"x-request-id",
        b"traceparent",
        b"tracestate",
        b"expect",
        b"authorization",
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


@dataclass(slots=True)
class Envelope:
    """What is known about a request before it is routed, and what its route makes known about it."""

    request_id: str
    language: Language
    correlation: Correlation
    version: str
    """The version to answer in, echoed. The newest until `settle_version`."""
    named_version: str | None
    """What the caller's Arsenal-Version says, unchecked."""
    client_request_id: str | None
    """The caller's X-Request-Id, at most 128 visible ASCII characters: for the request log, never adopted."""
    versions: Versions
    caller: object | None = None
    """Whoever was authenticated; the kernel knows nobody and only hands it on."""
    headers: Headers = ()
    """What goes on the answer besides, such as the caller's rates."""
    version_headers: Headers = ()
    """`Deprecation` and `Sunset`, for a version on its way out."""
    seal: Callable[[int, Headers, bytes], Headers] | None = None
    """Signs the whole answer: from status, headers and body to the headers that go on it besides."""
    on_end: Callable[[], None] | None = None
    """Called once when the request is over, however it ended."""

    def settle_version(self, pinned: str) -> None:
        """Answer in the version that the caller named, else in its pinned one. Raises 400 `kernel.version_unknown`."""
        self.version = self.versions.settle(self.named_version, pinned)
        self.version_headers = self.versions.headers(self.version)


def envelope_of(scope: Scope) -> Envelope:
    """The envelope of a request that came through `RequestEnvelope`. KeyError when it did not."""
    envelope: Envelope = scope[_SCOPE_KEY]
    return envelope


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as they went over the wire, for whoever records them; never changed."""

    scope: Scope
    envelope: Envelope
    status: int
    """500 where the application failed and its answer is made outside."""
    elapsed_s: float
    request_body: bytes | None
    """None beyond `KEPT_BYTES_MAX`, and where the route read nothing."""
    answer_body: bytes | None
    """None beyond `KEPT_BYTES_MAX`."""


class Hooks(Protocol):
    """What else happens to every request; bootstrap hands it in."""

    def admit(self, scope: Scope, envelope: Envelope, *, shows_token: bool) -> None:
        """A request comes in; `shows_token`: its Authorization looks like an access token. Raises a 429."""
        ...

    def record(self, exchange: Exchange) -> None:
        """A request is over. Must not raise and must not wait."""
        ...


class RequestEnvelope:
    """The ASGI layer; `Application` puts it around everything that answers."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        ids: Ids,
        problems: Problems,
        versions: Versions = ONE_VERSION,
        hooks: Hooks | None = None,
        body_bytes_max: int = BODY_BYTES_MAX,
        larger_bodies: Mapping[str, int] = NO_LARGER,
        entropy: Callable[[int], bytes] = process_entropy,
    ) -> None:
        """`larger_bodies`: by the beginning of a path, how many bytes its routes take, in pieces and not at once."""
        self._app = app
        self._ids = ids
        self._problems = problems
        self._versions = versions
        self._hooks = hooks
        self._body_bytes_max = body_bytes_max
        self._larger = tuple(larger_bodies.items())
        self._entropy = entropy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        headers, refusal = _read_headers(scope)
        envelope = self._open(headers)
        scope[_SCOPE_KEY] = envelope
        stamped = _StampedSend(send, envelope)
        bounded = _BoundedReceive(receive, self._limit_of(scope))
        with correlated(envelope.correlation):
            try:
                if refusal is None:
                    refusal = self._refusal(scope, headers)
                if refusal is not None:
                    if refusal.declared is BODY_TOO_LARGE and b"expect" not in headers:
                        await _discard(receive)
                    raise refusal
                if self._hooks is not None:
                    scheme = headers.get(b"authorization", b"")[:7].lower()
                    self._hooks.admit(scope, envelope, shows_token=scheme in _TOKEN_SCHEMES)
                await self._app(scope, bounded, RecastSend(stamped, scope, envelope))
            except PlatformError as error:
                if stamped.status:
                    raise
                answer = self._problems.answer(
                    error, language=envelope.language, request_id=envelope.request_id, scope=scope
                )
                await answer(scope, receive, stamped)
            finally:
                if envelope.on_end is not None:
                    envelope.on_end()
                if self._hooks is not None:
                    elapsed_s = time.perf_counter() - started
                    self._hooks.record(
                        Exchange(scope, envelope, stamped.status or 500, elapsed_s, bounded.kept, stamped.kept)
                    )

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
            version=self._versions.newest,
            named_version=None if version is None else version.decode("latin-1"),
            client_request_id=_visible(client_id) if client_id else None,
            versions=self._versions,
        )

    def _limit_of(self, scope: Scope) -> int:
        path = scope["path"]
        return next((limit for start, limit in self._larger if path.startswith(start)), self._body_bytes_max)

    def _refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> PlatformError | None:
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and (len(length) > 18 or int(length) > self._body_bytes_max):
            limit = self._limit_of(scope)
            if len(length) > 18 or int(length) > limit:
                return _too_large(limit)
        if len(scope.get("raw_path") or b"") + len(scope.get("query_string") or b"") > TARGET_BYTES_MAX:
            return TARGET_TOO_LONG.error({"limit": TARGET_BYTES_MAX})
        return None


_TOKEN_SCHEMES: Final = frozenset({b"bearer ", b"dpop ey"})  # a DPoP token is a JWT, which begins so


class _BoundedReceive:
    """Hands the body on and refuses it as soon as more came than is allowed, whatever Content-Length said."""

    __slots__ = ("_left", "_limit", "_receive", "kept")

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._limit = limit
        self._left = limit
        self.kept: bytes | None = None

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            piece: bytes = message.get("body", b"")
            first = self._left == self._limit
            self._left -= len(piece)
            if self._limit - self._left <= KEPT_BYTES_MAX:
                self.kept = piece if first else (self.kept or b"") + piece
            else:
                self.kept = None
            if self._left < 0:
                if message.get("more_body", False):
                    await _discard(self._receive)
                raise _too_large(self._limit)
        return message


class _StampedSend:
    """Puts Request-Id, Arsenal-Version and whatever else the envelope holds on the answer."""

    __slots__ = ("_envelope", "_held", "_send", "_sent", "kept", "status")

    def __init__(self, send: Send, envelope: Envelope) -> None:
        self._send = send
        self._envelope = envelope
        self._held: tuple[Message, bytes] | None = None
        self._sent = 0
        self.status = 0
        """0 until the answer begins."""
        self.kept: bytes | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            envelope = self._envelope
            stamp = (
                (b"request-id", envelope.request_id.encode()),
                (b"arsenal-version", envelope.version.encode()),
            )
            headers = [*message.get("headers", ()), *stamp, *envelope.headers, *envelope.version_headers]
            message = {**message, "headers": headers}
        else:
            piece: bytes = message.get("body", b"")
            if piece:
                is_first = self._sent == 0
                self._sent += len(piece)
                if self._sent <= KEPT_BYTES_MAX:
                    self.kept = piece if is_first else (self.kept or b"") + piece
                else:
                    self.kept = None
        if self._envelope.seal is None:
            await self._send(message)
        else:
            await self._hold(message, self._envelope.seal)

    async def _hold(self, message: Message, seal: Callable[[int, Headers, bytes], Headers]) -> None:
        """Keep an answer back until it is whole, then send it with its seal."""
        if self._held is None:
            self._held = (message, b"")
            return
        start, body = self._held[0], self._held[1] + message.get("body", b"")
        self._held = (start, body)
        if message.get("more_body", False):
            return
        headers = start["headers"]
        await self._send({**start, "headers": [*headers, *seal(start["status"], headers, body)]})
        await self._send({"type": "http.response.body", "body": body})


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
