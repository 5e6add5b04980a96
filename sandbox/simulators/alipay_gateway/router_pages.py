"""Addresses of the gateway that browsers and notices come to: authorisation pages and inboxes.

They have the protocol's own paths and rules, and stand outside of the API: no token, no OpenAPI.
"""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from platform_core.identity.oauth.authorize import AUTHORIZATION_REFUSED
from platform_core.identity.oauth.error_pages import PAGE_HEADERS, error_page
from platform_core.identity.oauth.handles import make_secret
from platform_core.identity.oauth.requests import AUTHORIZATION_STALE, BROWSER_COOKIE
from platform_core.identity.page_forms import read_page_form
from platform_core.kernel.entropy import entropy
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import envelope_of
from sandbox.simulators.alipay_gateway.customers import PATH as CUSTOMER_PATH
from sandbox.simulators.alipay_gateway.customers import page_of
from sandbox.simulators.alipay_gateway.inbox import BODY_BYTES_MAX
from sandbox.simulators.alipay_gateway.tools import AlipayTools

APP_PATH: Final = "/oauth2/appToAppAuth.htm"
INBOX_PATH: Final = "/sandbox/inbox/{app_number}"
_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_FORM_ALLOWED: Final = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self' {origin}"
_ORIGIN: Final = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+", re.ASCII)
Number = Annotated[str, Query(max_length=32)]
Address = Annotated[str, Query(max_length=500)]
Short = Annotated[str, Query(max_length=1024)]


def pages_router(tools: AlipayTools) -> APIRouter:
    """The pages over the tools of one process."""
    router = APIRouter(include_in_schema=False)
    _add_app_authorization(router, tools)
    _add_customer_authorization(router, tools)
    _add_inbox(router, tools)
    return router


def _add_app_authorization(router: APIRouter, tools: AlipayTools) -> None:
    @router.get(APP_PATH)
    async def authorize_app(request: Request, app_id: Number, redirect_uri: Address, state: Short = "") -> Response:
        """To the platform's consent page. An error stays here: no address is proven yet."""
        browser = request.cookies.get(BROWSER_COOKIE, "")
        if _BROWSER.fullmatch(browser) is None:
            browser = make_secret(entropy)
        try:
            location = await tools.authorizations.open(
                app_number=app_id, redirect_uri=redirect_uri, state=state, browser=browser
            )
        except PlatformError as error:
            return _refused(request, error)
        answer = RedirectResponse(location, status_code=303, headers=PAGE_HEADERS)
        answer.set_cookie(BROWSER_COOKIE, browser, max_age=3600, secure=True, httponly=True, samesite="lax")
        return answer


def _add_customer_authorization(router: APIRouter, tools: AlipayTools) -> None:
    @router.get(CUSTOMER_PATH)
    async def ask_customer(
        request: Request, app_id: Number, redirect_uri: Address, *, scope: Short = "auth_user", state: Short = ""
    ) -> Response:
        """The page of the simulated wallet."""
        try:
            wish, ticket = await tools.customers.open(
                app_number=app_id, redirect_uri=redirect_uri, scope=scope, state=state
            )
        except PlatformError as error:
            return _refused(request, error)
        origin = _ORIGIN.match(wish.redirect_uri)
        policy = _FORM_ALLOWED.format(origin=origin[0] if origin is not None else "")
        language = envelope_of(request.scope).language
        headers = {**PAGE_HEADERS, "Content-Security-Policy": policy, "Referrer-Policy": "same-origin"}
        return HTMLResponse(page_of(wish, ticket, language), headers=headers)

    @router.post(CUSTOMER_PATH)
    async def take_customer(request: Request) -> Response:
        """The decision. Whoever has the ticket is the simulated buyer: there is no session to abuse."""
        form = await read_page_form(request)
        try:
            location = await tools.customers.decide(
                form.one("ticket"), buyer=form.one("buyer"), is_allowed=form.one("decision") == "allow"
            )
        except PlatformError as error:
            return _refused(request, error)
        return RedirectResponse(location, status_code=303, headers=PAGE_HEADERS)


def _add_inbox(router: APIRouter, tools: AlipayTools) -> None:
    @router.api_route(INBOX_PATH, methods=["GET", "POST"])
    async def inbox(request: Request, app_number: str) -> Response:
        """Keeps, verifies, answers as set; 404 for a number that no app has."""
        body = await request.body()
        reply = await tools.inbox.receive(
            app_number,
            path=request.url.path[:500],
            headers=request.headers.raw,
            query=request.scope["query_string"],
            body=body[: BODY_BYTES_MAX + 1],
        )
        if reply is None:
            return Response("no app has this number", status_code=404, media_type="text/plain")
        if reply.wait_s:
            await asyncio.sleep(reply.wait_s)
        return Response(reply.body, status_code=reply.status, media_type=reply.media_type)


def _refused(request: Request, error: PlatformError) -> Response:
    if error.declared not in (AUTHORIZATION_REFUSED, AUTHORIZATION_STALE):
        raise error
    return error_page(error, envelope_of(request.scope).language)
