"""Who may call OAuth endpoints from a page in a browser: origins of public clients' redirect addresses.

Never with credentials (cookies): a token endpoint takes none. The documents about ourselves are for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from platform_core.kernel.errors import PlatformError

Allows = Callable[[str], Awaitable[bool]]
_ORIGIN: Final = re.compile(r"https?://[a-z0-9.\-\[\]:]{1,255}", re.ASCII)
_METHODS: Final = "GET, POST"
_HEADERS: Final = "Authorization, Content-Type, DPoP"
_EXPOSED: Final = "DPoP-Nonce, Request-Id, WWW-Authenticate"


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
