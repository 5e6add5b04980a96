"""Routes of the authorization server."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from platform_core.identity.oauth import documents
from platform_core.identity.oauth.authorize import AUTHORIZATION_REFUSED, UNREADABLE
from platform_core.identity.oauth.cors import cors_route, preflight
from platform_core.identity.oauth.error_pages import PAGE_HEADERS, error_page
from platform_core.identity.oauth.forms import parse_form, read_form_request
from platform_core.identity.oauth.handles import make_secret
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal, OAuthRequest, OAuthServer
from platform_core.identity.oauth.requests import BROWSER_COOKIE
from platform_core.identity.principal import Principal
from platform_core.identity.requires import requires
from platform_core.identity.sessions import SignedIn
from platform_core.kernel.entropy import entropy
from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http.envelope import envelope_of

_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PUBLIC: Final = {"Cache-Control": "public, max-age=300", "Access-Control-Allow-Origin": "*"}
_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_BROWSER_PATHS: Final = ("/oauth/token", "/oauth/revoke", "/oauth/userinfo")
WhoIs = Callable[[Request], Awaitable[SignedIn | None]]
MayRecognise = Annotated[Principal, requires("openid")]


def oauth_router(server: OAuthServer, who_is: WhoIs | None = None) -> APIRouter:
    """The routes over one server; bootstrap mounts them. `who_is`: who is signed in at the merchant's console."""
    router = APIRouter(tags=["oauth"])
    _add_authorize(router, server, who_is or _nobody)
    _add_confidential(router, server)
    router.include_router(_for_browsers(server))
    _add_documents(router, server)
    return router


def _add_authorize(router: APIRouter, server: OAuthServer, who_is: WhoIs) -> None:
    @router.get("/oauth/authorize", operation_id="oauth.authorize", status_code=303, **documents.AUTHORIZE)
    async def authorize(request: Request) -> Response:
        """Ask a merchant for authorization (RFC 6749 section 4.1.1). For browsers: leads to the consent page."""
        browser = request.cookies.get(BROWSER_COOKIE, "")
        if _BROWSER.fullmatch(browser) is None:
            browser = make_secret(entropy)
        try:
            parameters = _parameters(request)
            who = await who_is(request)
            redirect = await server.open_authorization(parameters, browser=browser, who=who)
        except PlatformError as error:
            if error.declared is AUTHORIZATION_REFUSED and "text/html" in request.headers.get("accept", ""):
                return error_page(error, envelope_of(request.scope).language)
            error.headers.update(PAGE_HEADERS)
            raise
        answer = RedirectResponse(redirect.location, status_code=303, headers=PAGE_HEADERS)
        answer.set_cookie(BROWSER_COOKIE, browser, max_age=3600, secure=True, httponly=True, samesite="lax")
        return answer


def _add_confidential(router: APIRouter, server: OAuthServer) -> None:
    @router.post("/oauth/par", operation_id="oauth.par", status_code=201, **documents.PAR)
    async def par(request: Request) -> JSONResponse:
        """Push an authorization request before the browser is sent (RFC 9126)."""
        return await _answer(request, server.push_authorization)

    @router.post("/oauth/device_authorization", operation_id="oauth.device_authorization", **documents.DEVICE)
    async def device_authorization(request: Request) -> JSONResponse:
        """Begin on a device without a browser, such as a cash register (RFC 8628)."""
        return await _answer(request, server.authorize_device)

    @router.post("/oauth/introspect", operation_id="oauth.introspect", **documents.INTROSPECT)
    async def introspect(request: Request) -> JSONResponse:
        """Ask whether a token of yours is valid and what it may (RFC 7662)."""
        return await _answer(request, server.introspect)


def _for_browsers(server: OAuthServer) -> APIRouter:
    """What public clients' pages may call themselves."""
    router = APIRouter(route_class=cors_route(server.allows_origin))

    @router.post("/oauth/token", operation_id="oauth.token", **documents.TOKEN)
    async def token(request: Request) -> JSONResponse:
        """Get an access token. Prove the client in one way: HTTP Basic, secret in the body, or assertion."""
        return await _answer(request, server.issue_token)

    @router.post("/oauth/revoke", operation_id="oauth.revoke", **documents.REVOKE)
    async def revoke(request: Request) -> JSONResponse:
        """End a token: a refresh token with all that came of it, an access token alone (RFC 7009)."""
        return await _answer(request, server.revoke)

    @router.get("/oauth/userinfo", operation_id="oauth.userinfo", **documents.USERINFO)
    async def userinfo(who: MayRecognise) -> JSONResponse:
        """Which merchant stands behind the token (OpenID Connect Core 1.0 section 5.3)."""
        return _userinfo(who)

    @router.post("/oauth/userinfo", operation_id="oauth.userinfo_post", **documents.USERINFO)
    async def userinfo_post(who: MayRecognise) -> JSONResponse:
        """The same by POST, as OpenID Connect asks for."""
        return _userinfo(who)

    for path in _BROWSER_PATHS:
        router.add_api_route(path, _preflight(server), methods=["OPTIONS"], include_in_schema=False)
    return router


def _add_documents(router: APIRouter, server: OAuthServer) -> None:
    @router.get("/oauth/jwks", operation_id="oauth.jwks", response_class=JSONResponse)
    async def jwks() -> JSONResponse:
        """The keys that verify access tokens (RFC 7517)."""
        return JSONResponse(server.jwks(), headers=_PUBLIC)

    @router.get("/.well-known/oauth-authorization-server", operation_id="oauth.metadata", response_class=JSONResponse)
    async def metadata() -> JSONResponse:
        """What this authorization server can do (RFC 8414)."""
        return JSONResponse(server.metadata(), headers=_PUBLIC)

    @router.get("/.well-known/openid-configuration", operation_id="oauth.openid_metadata", response_class=JSONResponse)
    async def openid_metadata() -> JSONResponse:
        """The same, where OpenID Connect clients look for it."""
        return JSONResponse(server.metadata(), headers=_PUBLIC)


async def _answer(request: Request, act: Callable[[OAuthRequest], Awaitable[OAuthAnswer]]) -> JSONResponse:
    try:
        answer = await act(await read_form_request(request))
    except OAuthRefusal as refusal:
        answer = refusal.answer()
    return JSONResponse(answer.body, status_code=answer.status, headers={**_NO_STORE, **answer.headers})


def _parameters(request: Request) -> dict[str, str]:
    """The query's parameters. Raises `identity.authorization_refused` for what is not plain, on our page."""
    try:
        return parse_form(request.scope.get("query_string", b""))
    except OAuthRefusal as refusal:
        raise AUTHORIZATION_REFUSED.error({"reason": UNREADABLE}) from refusal


def _userinfo(who: Principal) -> JSONResponse:
    facts: dict[str, Any] = {"sub": who.merchant_id, "mode": who.mode}
    return JSONResponse(facts, headers=_NO_STORE)


def _preflight(server: OAuthServer) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await preflight(request, server.allows_origin)

    return answer


async def _nobody(request: Request) -> SignedIn | None:
    return None
