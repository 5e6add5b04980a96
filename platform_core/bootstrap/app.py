"""The HTTP application: routes over the services of one process's platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI

from platform_core.bootstrap.platform import Platform
from platform_core.capabilities.payments.router import DIRECT_ROUTES as PAYMENTS_DIRECT
from platform_core.capabilities.payments.router import router as payments_router
from platform_core.identity.oauth.router import oauth_router
from platform_core.identity.router import parties_router
from platform_core.kernel.http.direct import DirectRoutes
from platform_core.kernel.http.envelope import RequestEnvelope
from platform_core.kernel.http.handlers import install_handlers
from platform_core.kernel.http.openapi import openapi_document
from platform_core.kernel.http.problem import Problems

VERSIONS = ("2026-11-22",)
DESCRIPTION = "Payments and what hangs on them. Amounts are integers of the currency's minor unit; moments are RFC 3339 in UTC."


def create_app(platform: AbstractAsyncContextManager[Platform], *, public_origin: str, ids: Any, language: Any = "en") -> FastAPI:
    """The application; `platform` is entered when the server starts. `ids`: kernel.ids.Ids, for request ids."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with platform as opened:
            attach(app, opened)
            yield

    app = FastAPI(
        title="Arsenal",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    problems = Problems(type_base=f"{public_origin}/problems", language=language)
    app.include_router(payments_router)
    install_handlers(app, problems)
    app.add_middleware(DirectRoutes, routes=PAYMENTS_DIRECT)
    app.add_middleware(RequestEnvelope, ids=ids, problems=problems, versions=VERSIONS)
    return app


def attach(app: FastAPI, platform: Platform) -> None:
    """Put an open platform behind the application's routes."""
    app.state.access = platform.access
    app.state.payments = platform.payments
    app.include_router(oauth_router(platform.oauth))
    app.include_router(parties_router(platform.parties, platform.cursors))
    document: dict[str, Any] = {}

    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> dict[str, Any]:
        if not document:
            document.update(openapi_document(app, {"type": "object"}))
        return document
