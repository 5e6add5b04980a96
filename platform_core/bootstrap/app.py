"""The HTTP application: routes over the services of one process's platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request

from platform_core.bootstrap.hooks import RequestHooks
from platform_core.bootstrap.jobs import register_jobs, webhook_deps
from platform_core.bootstrap.openapi_parts import complete_document
from platform_core.bootstrap.pages import page_routes
from platform_core.bootstrap.platform import Platform
from platform_core.bootstrap.sandbox import mount as mount_sandbox
from platform_core.capabilities.payments.bills.router import router as bills_router
from platform_core.capabilities.payments.disputes.router import LARGER_BODIES as DISPUTE_BODIES
from platform_core.capabilities.payments.disputes.router import router as disputes_router
from platform_core.capabilities.payments.exports.router import router as exports_router
from platform_core.capabilities.payments.payouts.router import router as payouts_router
from platform_core.capabilities.payments.receipt_router import router as receipts_router
from platform_core.capabilities.payments.router import DIRECT_ROUTES as PAYMENTS_DIRECT
from platform_core.capabilities.payments.router import router as payments_router
from platform_core.capabilities.payments.settlement.router import router as settlements_router
from platform_core.capabilities.payments.splits.router import router as splits_router
from platform_core.consoles.consent.router import consent_router
from platform_core.consoles.device.router import device_router
from platform_core.contracts.versions import versions
from platform_core.delivery.plugins.router import make_router as plugin_deliveries_router
from platform_core.delivery.webhooks.router import make_router as webhooks_router
from platform_core.identity.access import audience
from platform_core.identity.conventions_router import conventions_router
from platform_core.identity.oauth.router import WhoIs, oauth_router
from platform_core.identity.request_history import RequestHistory
from platform_core.identity.requires import requires
from platform_core.identity.router_grants import grants_router
from platform_core.identity.sessions import Sessions, SignedIn, cookie_name
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.http.application import Application
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.redaction import redactors_of
from platform_core.kernel.i18n import Language
from platform_core.kernel.ids import Ids
from platform_core.ledger.router import SCOPE as LEDGER_SCOPE
from platform_core.ledger.router import ledger_router
from platform_core.plugin_host.bundle_uploads import BYTES_MAX as BUNDLE_BYTES_MAX
from platform_core.plugin_host.discovery import discover
from platform_core.plugin_host.router_bundles import UPLOAD_PATH, bundles_router
from platform_core.plugin_host.router_merchants import merchants_router
from platform_core.plugin_host.router_operators import operators_router, publishers_router
from platform_core.plugin_host.router_remote import asks_router, remote_publishers_router

DESCRIPTION = (
    "Payments and what hangs on them. Amounts are integers of the currency's minor unit; moments are RFC 3339 in UTC."
)


def create_app(
    platform: AbstractAsyncContextManager[Platform], *, public_origin: str, ids: Ids, language: Language = "en"
) -> FastAPI:
    """The application; `platform` is entered when the server starts. `ids` mints request ids."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with platform as opened:
            attach(app, opened)
            await opened.plugin_life.host_releases.register(discover())
            async with opened.processes.counted():
                yield

    hooks = RequestHooks()
    app = Application(
        ids=ids,
        problems=Problems(type_base=f"{public_origin}/problems/", language=language),
        versions=versions(),
        hooks=hooks,
        direct=PAYMENTS_DIRECT,
        larger_bodies={UPLOAD_PATH: BUNDLE_BYTES_MAX, **DISPUTE_BODIES},
        title="Arsenal",
        version="0.1.0",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    app.state.hooks = hooks
    app.include_router(payments_router)
    app.include_router(receipts_router)
    app.include_router(disputes_router)
    app.include_router(settlements_router)
    app.include_router(payouts_router)
    app.include_router(splits_router)
    app.include_router(bills_router)
    app.include_router(exports_router)
    return app


def attach(app: FastAPI, platform: Platform) -> None:
    """Put a platform behind the application's routes."""
    app.state.access = platform.access
    app.state.payments = platform.payments
    register_jobs(platform)
    app.include_router(oauth_router(platform.oauth, _who_at(platform.people.sessions)))
    platform.people.mount(app)
    references_of = platform.payments.bills.references_of
    may_read_ledger = requires(LEDGER_SCOPE)
    app.include_router(
        ledger_router(platform.ledger, platform.cursors, may_read=may_read_ledger, references_of=references_of)
    )
    app.include_router(conventions_router(platform.operations, RequestHistory(platform.database, platform.cursors)))
    app.include_router(webhooks_router(webhook_deps(platform)))
    app.include_router(merchants_router(platform.plugin_life))
    app.include_router(publishers_router(platform.plugin_life))
    app.include_router(operators_router(platform.plugin_life))
    app.include_router(bundles_router(platform.plugin_life))
    app.include_router(remote_publishers_router(platform.plugin_life))
    app.include_router(asks_router(platform.plugin_host.remote.calls, platform.access))
    app.include_router(plugin_deliveries_router(platform.plugin_life.deps))
    resource = audience(platform.settings.public_origin)
    app.include_router(grants_router(platform.grants, platform.cursors, resource=resource))
    app.include_router(consent_router(platform.oauth, platform.consent, SystemClock()))
    app.include_router(device_router(platform.devices))
    if platform.settings.is_sandbox:
        mount_sandbox(app, platform)
    app.include_router(page_routes(platform, lambda: document_of(app)))
    platform.request_log.know(redactors_of(document_of(app)))
    app.state.hooks.limits = platform.access.limits
    app.state.hooks.log = platform.request_log
    app.state.hooks.refusals = platform.refusals


def _who_at(sessions: Sessions) -> WhoIs:
    """Who is signed in at the merchant's console: for `prompt=none` at the authorization endpoint."""

    async def who_is(request: Request) -> SignedIn | None:
        return await sessions.find(request.cookies.get(cookie_name("merchant")), console="merchant")

    return who_is


def document_of(app: FastAPI) -> dict[str, Any]:  # Any: JSON
    """The OpenAPI document of an application with its routes, made once."""
    made: dict[str, Any] | None = getattr(app.state, "openapi_document", None)
    if made is None:
        made = app.state.openapi_document = complete_document(app)
    return made
