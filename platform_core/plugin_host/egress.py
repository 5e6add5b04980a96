"""The host's own HTTPS for plugins: one request, one connection of its own, never a redirect.

A connection is made for each request and not shared, so that what one plugin sends can never be answered to another;
it also makes it certain whether anything of a request has left. The name is resolved once, judged and connected to
(`kernel.http.guarded_client`). Sources: RFC 9110, RFC 9112, read 2026-11-22.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import certifi
import httpcore
import httpx

from platform_core.kernel.http.guarded_client import (
    LOOPBACK_HOSTS,
    GuardedBackend,
    GuardedTransport,
    OutboundFailed,
    Resolver,
    resolve,
)
from platform_core.kernel.telemetry import histogram
from platform_core.plugin_host.egress_rules import Outgoing
from platform_core.plugin_host.egress_secrets import blanked, blanked_headers
from platform_core.plugin_host.gate_errors import EGRESS_NOT_SENT, EGRESS_TOO_LARGE, EGRESS_UNKNOWN

TIMEOUT_S_MAX: Final = 8.0
CONNECT_S_MAX: Final = 4.0
FETCHES_MAX: Final = 128
USER_AGENT: Final = "Arsenal-Plugin/1"
_OURS: Final = {"accept-encoding": "identity", "connection": "close"}
FETCH_SECONDS: Final = histogram(
    "arsenal.plugin.egress", unit="s", description="Duration of plugins' requests to the outside, by host and outcome."
)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back, secrets blanked out. Header names are in lower case; of a repeated header the last."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Sent:
    """Whether a byte of the request may have left."""

    __slots__ = ("is_sent",)

    def __init__(self) -> None:
        self.is_sent = False


class _Watched(httpcore.AsyncNetworkStream):
    """A stream that notes the first byte of the request. A handshake of TLS is none: httpcore does not `write` it."""

    def __init__(self, stream: httpcore.AsyncNetworkStream, sent: Sent) -> None:
        self._stream = stream
        self._sent = sent

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109 - httpcore's
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109 - httpcore's
        self._sent.is_sent = True
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
    ) -> httpcore.AsyncNetworkStream:
        return _Watched(await self._stream.start_tls(ssl_context, server_hostname, timeout), self._sent)

    def get_extra_info(self, info: str) -> Any:  # Any: httpcore's
        return self._stream.get_extra_info(info)


class _WatchedBackend(GuardedBackend):
    """The guarded backend, its connections watched."""

    def __init__(
        self,
        sent: Sent,
        *,
        allow_loopback: bool,
        resolver: Resolver,
        inner: httpcore.AsyncNetworkBackend | None,
    ) -> None:
        super().__init__(allow_loopback=allow_loopback, resolver=resolver, inner=inner)
        self._sent = sent

    async def connect_tcp(  # noqa: PLR0917 - httpcore's signature
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,  # httpcore's own union of option tuples
    ) -> httpcore.AsyncNetworkStream:
        stream = await super().connect_tcp(host, port, timeout, local_address, socket_options)
        return _Watched(stream, self._sent)


class Egress:
    """Sends what the rules let pass. One per process."""

    def __init__(
        self,
        *,
        simulators: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | None = None,
        resolver: Resolver = resolve,
        inner: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        """`simulators`: hosts that answer on this machine instead, as `http://127.0.0.1:port`, for trying out alone.

        `tls`, `resolver` and `inner` (what opens connections) are for tests. ValueError for a simulator elsewhere.
        """
        self._simulators = {host: _origin(origin) for host, origin in (simulators or {}).items()}
        self._tls = tls
        self._resolver = resolver
        self._inner = inner
        self._free = asyncio.Semaphore(FETCHES_MAX)

    async def fetch(
        self, request: Outgoing, *, timeout_s: float, secrets: tuple[bytes, ...] = (), sent: Sent | None = None
    ) -> Fetched:
        """Ask once. `sent` is told whether anything left, also when this is cancelled.

        Raises 502 `plugin.egress_not_sent`, `plugin.egress_too_large`, 504 `plugin.egress_unknown`.
        """
        sent = sent or Sent()
        started, outcome = time.perf_counter(), "unknown"
        try:
            async with asyncio.timeout(min(timeout_s, TIMEOUT_S_MAX)), self._free:
                answer = await self._exchange(request, sent, timeout_s)
            outcome = "answered"
        except (TimeoutError, httpcore.TimeoutException, httpx.TimeoutException) as error:
            raise _failed(sent, f"no whole answer within {min(timeout_s, TIMEOUT_S_MAX):.1f} s") from error
        except OutboundFailed as error:
            raise _failed(sent, error.detail) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.TransportError, OSError) as error:
            raise _failed(sent, f"the connection failed ({type(error).__name__})") from error
        finally:
            if FETCH_SECONDS.is_collected:
                labels = {"host": request.host, "outcome": outcome if sent.is_sent else "not_sent"}
                FETCH_SECONDS.record(time.perf_counter() - started, labels)
        headers = blanked_headers(answer.headers, secrets)
        return Fetched(answer.status, headers, blanked(answer.body, secrets))

    async def _exchange(self, request: Outgoing, sent: Sent, timeout_s: float) -> Fetched:
        url, is_simulated = self._mapped(request.url)
        backend = _WatchedBackend(sent, allow_loopback=is_simulated, resolver=self._resolver, inner=self._inner)
        limits = httpx.Timeout(timeout_s, connect=min(CONNECT_S_MAX, timeout_s))
        client = httpx.AsyncClient(
            transport=GuardedTransport(backend, tls=self._context, connections_max=1),
            trust_env=False,
            follow_redirects=False,
            timeout=limits,
        )
        async with client:
            headers = {
                "user-agent": USER_AGENT,
                **request.headers,
                "accept-encoding": "identity",
                "connection": "close",
            }
            if is_simulated:
                headers["host"] = request.url.netloc.decode("ascii")
            made = client.build_request(request.method, url, headers=headers, content=request.body)
            answer = await client.send(made, stream=True)
            try:
                return await _whole(answer, request.answer_bytes_max)
            finally:
                await answer.aclose()

    def _mapped(self, url: httpx.URL) -> tuple[httpx.URL, bool]:
        origin = self._simulators.get(url.host)
        if origin is None:
            return url, False
        return url.copy_with(scheme=origin.scheme, host=origin.host, port=origin.port), True

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return self._tls or ssl.create_default_context(cafile=certifi.where())


async def _whole(answer: httpx.Response, bytes_max: int) -> Fetched:
    """The whole answer, as it was sent. Raises EGRESS_TOO_LARGE and EGRESS_UNKNOWN."""
    encoding = answer.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise EGRESS_UNKNOWN.error({"reason": f"the answer is in {encoding[:20]!r}, and identity was asked for"})
    body = bytearray()
    async for part in answer.aiter_raw():
        body += part
        if len(body) > bytes_max:
            raise EGRESS_TOO_LARGE.error({"kib": bytes_max // 1024})
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in answer.headers.raw}
    return Fetched(answer.status_code, headers, bytes(body))


def _failed(sent: Sent, reason: str) -> Exception:
    return (EGRESS_UNKNOWN if sent.is_sent else EGRESS_NOT_SENT).error({"reason": reason})


def _origin(text: str) -> httpx.URL:
    origin = httpx.URL(text)
    if origin.scheme != "http" or origin.host not in LOOPBACK_HOSTS or origin.port is None or origin.path != "/":
        raise ValueError(f"a simulator is at http://127.0.0.1:<port>, not at {text}")
    return origin


def on_this_machine(url: str, simulators: Mapping[str, str]) -> str:
    """An address as it is called: of a simulated host, that of its simulator. ValueError as for `Egress`."""
    parsed = httpx.URL(url)
    origin = simulators.get(parsed.host)
    if origin is None:
        return url
    simulator = _origin(origin)
    return str(parsed.copy_with(scheme=simulator.scheme, host=simulator.host, port=simulator.port))
