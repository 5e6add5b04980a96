"""Routes of the authorization server."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from platform_core.identity.oauth.forms import read_form_request
from platform_core.identity.oauth.protocol import OAuthAnswer, OAuthRefusal, OAuthServer

_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_TEXT: Final = {"type": "string", "maxLength": 2048}
_ERROR: Final = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error", "error_description"],
                "properties": {"error": {"type": "string"}, "error_description": {"type": "string"}},
            }
        }
    }
}
_TOKEN: Final = {
    "type": "object",
    "required": ["access_token", "token_type", "expires_in", "scope"],
    "properties": {
        "access_token": {"type": "string"},
        "token_type": {"type": "string", "enum": ["Bearer"]},
        "expires_in": {"type": "integer"},
        "scope": {"type": "string"},
    },
}
_TOKEN_FORM: Final[dict[str, Any]] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {
                    "type": "object",
                    "required": ["grant_type"],
                    "properties": {
                        "grant_type": {"type": "string", "enum": ["client_credentials"]},
                        "scope": _TEXT,
                        "resource": _TEXT,
                        "client_id": _TEXT,
                        "client_secret": _TEXT,
                    },
                }
            }
        },
    }
}
_TOKEN_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "An access token.", "content": {"application/json": {"schema": _TOKEN}}},
    400: {"description": "Refused, with the reason as RFC 6749 section 5.2 names it.", **_ERROR},
    401: {"description": "The client in the Authorization header is unknown or its secret is wrong.", **_ERROR},
    413: {"description": "The body is larger than 64 KiB.", **_ERROR},
}


def oauth_router(server: OAuthServer) -> APIRouter:
    """The routes over one server; bootstrap mounts them."""
    router = APIRouter(tags=["oauth"])

    @router.post(
        "/oauth/token",
        operation_id="oauth.token",
        response_class=JSONResponse,
        responses=_TOKEN_ANSWERS,
        openapi_extra=_TOKEN_FORM,
    )
    async def token(request: Request) -> JSONResponse:
        """Get an access token (RFC 6749 section 4.4). Send the secret by HTTP Basic or in the body, not both."""
        try:
            answer = await server.issue_token(await read_form_request(request))
        except OAuthRefusal as refusal:
            answer = refusal.answer()
        return _json(answer)

    @router.get("/oauth/jwks", operation_id="oauth.jwks", response_class=JSONResponse)
    async def jwks() -> JSONResponse:
        """The keys that verify access tokens (RFC 7517)."""
        return JSONResponse(server.jwks(), headers={"Cache-Control": "public, max-age=300"})

    @router.get("/.well-known/oauth-authorization-server", operation_id="oauth.metadata", response_class=JSONResponse)
    async def metadata() -> JSONResponse:
        """What this authorization server can do (RFC 8414)."""
        return JSONResponse(server.metadata(), headers={"Cache-Control": "public, max-age=300"})

    return router


def _json(answer: OAuthAnswer) -> JSONResponse:
    return JSONResponse(answer.body, status_code=answer.status, headers={**_NO_STORE, **answer.headers})
