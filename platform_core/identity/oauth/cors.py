"""Who may call OAuth endpoints from a page in a browser: origins of public clients' redirect addresses.

Never with credentials (cookies): a token endpoint takes none. The documents about ourselves are for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.ext.asyncio import AsyncEngine

from platform_core.identity.feed_cache import FeedCache
from platform_core.identity.redirects import origin_of
from platform_core.identity.repository_oauth import read_public_redirects
from platform_core.identity.revocation import PUBLIC_CLIENTS, RevocationFeed
from platform_core.kernel.clock import Clock
from platform_core.kernel.errors import PlatformError

Allows = Callable[[str], Awaitable[bool]]
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]{1,255}", re.ASCII)
_METHODS: Final = "GET, POST"
_HEADERS: Final = "Authorization, Content-Type, DPoP"
_EXPOSED: Final = "DPoP-Nonce, Request-Id, WWW-Authenticate"


class PublicOrigins:
    """The origins of public clients' redirect addresses, as they stood at most a second ago. One per process.

    Kept whole, so that pages of strangers, who may claim any origin, cost no query.
    """

    def __init__(self, reads: AsyncEngine, feed: RevocationFeed, clock: Clock) -> None:
        """`reads`: by the authorization server's role. `clock` is the feed's."""
        self._reads = reads
        self._known = FeedCache(self._read, kind="origins", feed=feed, clock=clock, entries_max=1)

    async def allows(self, origin: str) -> bool:
        """Whether a public client has a redirect address at this origin."""
        return origin in await self._known.get(PUBLIC_CLIENTS)

    async def _read(self, _: str) -> frozenset[str]:
        async with self._reads.connect() as connection:
            listed = await read_public_redirects(connection)
        return frozenset(origin_of(uri) for uri in listed)


async def cors_headers(request: Request, allows: Allows) -> dict[str, str]:
    """The headers of an answer to a page of another origin; only `Vary` where it may not read the answer."""
    origin = request.headers.get("origin")
    if origin is None:
        return {}
    headers = {"Vary": "Origin"}
    if _ORIGIN.fullmatch(origin) is not None and await allows(origin):
        headers |= {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}
    return headers


async def preflight(request: Request, allows: Allows) -> Response:
    """The answer to a browser's question before a call (Fetch standard, section 3.2.2)."""
    headers = await cors_headers(request, allows)
    if "Access-Control-Allow-Origin" in headers:
        headers |= {
            "Access-Control-Allow-Methods": _METHODS,
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": "600",
        }
    return Response(status_code=204, headers=headers)


def cors_route(allows: Allows) -> type[APIRoute]:
    """A kind of route whose answers, refusals among them, carry the headers."""

    class CorsRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()

            async def with_headers(request: Request) -> Response:
                headers = await cors_headers(request, allows)
                try:
                    answer = await handle(request)
                except PlatformError as error:
                    error.headers.update(headers)
                    raise
                answer.headers.update(headers)
                return answer

            return with_headers

    return CorsRoute
