"""HTTP to addresses that strangers chose: webhook endpoints, key sets, remote plugins.

A name is resolved once, every address that it resolves to is judged, and the connection goes to a judged address, so
that a name which changes between the check and the connection (DNS rebinding) gains nothing. No redirects, cookies,
proxies or credentials in the address. The list of refused networks is our own: Python 3.11's `is_global` calls NAT64,
6to4 and multicast global.
"""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, Literal

import certifi
import httpcore
import httpx

CONNECT_TIMEOUT_S: Final = 5.0
TOTAL_TIMEOUT_S: Final = 15.0
URL_LENGTH_MAX: Final = 2048
LOOPBACK_HOSTS: Final = frozenset({"127.0.0.1", "::1", "localhost"})

# IANA IPv4 Special-Purpose Address Registry and multicast, read 2026-11-22; everything in it is refused, also what is
# "global".
_V4_REFUSED: Final = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
            "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
        ),
    )
)  # fmt: skip
# IPv6: only global unicast may be reached (this leaves out ::/128, ::1, v4-mapped, 64:ff9b::/96, fc00::/7, fe80::/10,
# ff00::/8), ...
_V6_UNICAST: Final = IPv6Network("2000::/3")
# ... but for protocol assignments with Teredo and ORCHID, documentation and 6to4, which hide another address.
_V6_REFUSED: Final = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)

FailureKind = Literal["url_refused", "address_refused", "name_unknown", "connect", "tls", "timeout", "protocol"]
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]


class OutboundFailed(Exception):
    """No answer was received. `kind` says why; whether the other side acted on the request is not known."""

    def __init__(self, kind: FailureKind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: FailureKind = kind
        self.detail = detail


@dataclass(frozen=True, slots=True)
class GuardedAnswer:
    """What the other side answered. `body` is its beginning, as many bytes as were asked for, not decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    elapsed_ms: int


def is_public(address: str) -> bool:
    """Whether an address may be connected to. What does not parse, or carries a zone, is not public."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, IPv4Address):
        return not any(parsed in network for network in _V4_REFUSED)
    return _is_public_v6(parsed)


def _is_public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None or address not in _V6_UNICAST:
        return False
    return not any(address in network for network in _V6_REFUSED)


def check_url(url: str, *, allow_loopback_http: bool = False) -> httpx.URL:
    """The parsed address if its form may be called: https, a host, no user, no fragment.

    `allow_loopback_http` also lets http to 127.0.0.1, [::1] and localhost pass, for tests and demonstrations. Raises
    `OutboundFailed` (`url_refused`). A form that passes is still resolved and judged at every connection.
    """
    if len(url) > URL_LENGTH_MAX or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise OutboundFailed(
            "url_refused", f"an address is at most {URL_LENGTH_MAX} visible ASCII characters, IDNs as punycode"
        )
    try:
        parsed = httpx.URL(url)
        host = parsed.host
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:  # IDNAError is a UnicodeError, not an InvalidURL
        raise OutboundFailed("url_refused", "not an address that can be read") from error
    if not host or parsed.userinfo or parsed.fragment or not 0 < (parsed.port or 443) < 65_536:
        raise OutboundFailed("url_refused", "an address has a host, a port that exists, and neither user nor fragment")
    if parsed.scheme == "https" or (parsed.scheme == "http" and allow_loopback_http and host in LOOPBACK_HOSTS):
        if _is_literal(host) and not _may_connect(host, host, allow_loopback=allow_loopback_http):
            raise OutboundFailed("url_refused", "the address is not public")
        return parsed
    raise OutboundFailed("url_refused", "only https is called")


def _is_literal(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _may_connect(host: str, address: str, *, allow_loopback: bool) -> bool:
    """A loopback address only if the caller wrote loopback: a name that merely resolves to it is an attack."""
    if allow_loopback and host in LOOPBACK_HOSTS:
        return _is_literal(address) and ip_address(address).is_loopback
    return is_public(address)


async def resolve(host: str, port: int) -> Sequence[str]:
    """All addresses of a name, in the operating system's order, asked once."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens connections to judged addresses only."""

    def __init__(
        self, *, allow_loopback: bool, resolver: Resolver = resolve, inner: httpcore.AsyncNetworkBackend | None = None
    ) -> None:
        self._allow_loopback = allow_loopback
        self._resolve = resolver
        self._inner = inner or httpcore.AnyIOBackend()

    async def connect_tcp(  # noqa: PLR0917 - httpcore's signature
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,  # httpcore's own union of option tuples
    ) -> httpcore.AsyncNetworkStream:
        """Resolve once, refuse if any address is not public, connect to the first that answers."""
        timeout_s = CONNECT_TIMEOUT_S if timeout is None else timeout
        deadline = time.monotonic() + timeout_s
        try:
            addresses = await asyncio.wait_for(self._resolve(host, port), timeout_s)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout("the name was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise OutboundFailed("name_unknown", "the name does not resolve") from error
        if not addresses:
            raise OutboundFailed("name_unknown", "the name does not resolve")
        if not all(_may_connect(host, address, allow_loopback=self._allow_loopback) for address in addresses):
            raise OutboundFailed("address_refused", "the name resolves to an address that is not public")
        failure: Exception = httpcore.ConnectError("no address answered")
        for address in dict.fromkeys(addresses):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise httpcore.ConnectTimeout("no address answered in time") from failure
            try:
                return await self._inner.connect_tcp(
                    address, port, timeout=left_s, local_address=local_address, socket_options=socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[Any] | None = None,  # httpcore's own union of option tuples
    ) -> httpcore.AsyncNetworkStream:
        """Never: a socket file is somebody inside."""
        raise OutboundFailed("address_refused", "sockets of this machine are not called")

    async def sleep(self, seconds: float) -> None:
        """As httpcore asks."""
        await asyncio.sleep(seconds)


class _Stream(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:  # httpcore's stream: an async iterable with aclose
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class GuardedTransport(httpx.AsyncBaseTransport):
    """httpx over an httpcore pool with the guarded backend."""

    def __init__(self, backend: GuardedBackend, *, tls: ssl.SSLContext, connections_max: int) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            max_connections=connections_max,
            max_keepalive_connections=connections_max,
            keepalive_expiry=15.0,
            network_backend=backend,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; httpcore's errors come through as they are."""
        assert isinstance(request.stream, httpx.AsyncByteStream)
        answer = await self._pool.handle_async_request(
            httpcore.Request(
                method=request.method,
                url=httpcore.URL(
                    scheme=request.url.raw_scheme,
                    host=request.url.raw_host,
                    port=request.url.port,
                    target=request.url.raw_path,
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Stream(answer.stream))

    async def aclose(self) -> None:
        """Close the pool."""
        await self._pool.aclose()


@functools.cache
def public_roots() -> ssl.SSLContext:
    """What trusts the public roots and nothing else; one for the process, because reading them takes 15 ms."""
    return ssl.create_default_context(cafile=certifi.where())


class GuardedClient:
    """Calls addresses that strangers chose. One per event loop; close it with `aclose`.

    `tls` is for tests with a certificate of their own; by default the public roots are trusted.
    """

    def __init__(
        self,
        *,
        allow_loopback_http: bool = False,
        connections_max: int = 64,
        tls: ssl.SSLContext | None = None,
        backend: GuardedBackend | None = None,
    ) -> None:
        self._allow_loopback_http = allow_loopback_http
        backend = backend or GuardedBackend(allow_loopback=allow_loopback_http)
        tls = tls or public_roots()
        self._client = httpx.AsyncClient(
            transport=GuardedTransport(backend, tls=tls, connections_max=connections_max),
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            timeout=httpx.Timeout(TOTAL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            headers={"accept-encoding": "identity", "user-agent": "Arsenal/1"},
        )

    async def send(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes = b"", body_bytes_max: int = 1024
    ) -> GuardedAnswer:
        """One request, answered within 15 s in all (5 s to connect), or `OutboundFailed`. Redirects are answers."""
        target = check_url(url, allow_loopback_http=self._allow_loopback_http)
        started = time.monotonic()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_S):
                request = self._client.build_request(method, target, headers=dict(headers), content=content)
                answer = await self._client.send(request, stream=True)
                try:
                    body = await _beginning(answer, body_bytes_max)
                finally:
                    await answer.aclose()
        except (TimeoutError, httpcore.TimeoutException) as error:
            raise OutboundFailed("timeout", f"no complete answer within {TOTAL_TIMEOUT_S:g} s") from error
        except httpcore.ConnectError as error:
            kind: FailureKind = "tls" if isinstance(_root(error), ssl.SSLError) else "connect"
            raise OutboundFailed(kind, "the connection could not be made") from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpx.TransportError, ssl.SSLError) as error:
            raise OutboundFailed("protocol", f"the connection broke ({type(error).__name__})") from error
        elapsed_ms = round((time.monotonic() - started) * 1000)
        return GuardedAnswer(answer.status_code, dict(answer.headers), body, elapsed_ms)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


async def _beginning(answer: httpx.Response, bytes_max: int) -> bytes:
    """At most `bytes_max` bytes; the rest is not read, however long it is."""
    body = b""
    async for part in answer.aiter_raw():
        body += part[: bytes_max - len(body)]
        if len(body) >= bytes_max:
            break
    return body


def _root(error: BaseException) -> BaseException:
    while (cause := error.__cause__ or error.__context__) is not None:
        error = cause
    return error
