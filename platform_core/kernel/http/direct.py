"""The few hottest routes, served before the framework's router sees them.

A route of FastAPI costs more than everything that the busiest one of ours does itself besides writing. Such a route
stays registered in the application, which is where its documentation and its scope are read; this layer calls the same
function for exactly its method and path, and leaves everything else alone. Refusals pass up to `RequestEnvelope`; what
nobody expected is logged and answered here, as the application's own handler does for every other route.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.handlers import unexpected


@dataclass(frozen=True, slots=True)
class DirectRoute:
    """One such route. It stands in the request's scope as `route`, as a route of the framework would."""

    method: str
    path: str
    """Without parameters."""
    operation_id: str
    answer: Callable[[Request], Awaitable[Response]]


class DirectRoutes:
    """The ASGI layer; add it before `RequestEnvelope`, so that it stands inside of it."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[DirectRoute]) -> None:
        self._app = app
        self._routes = {(route.method, route.path): route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.answer(request)
        except PlatformError:
            raise
        except Exception as error:
            raise unexpected(request, error) from error
        await response(scope, receive, send)
