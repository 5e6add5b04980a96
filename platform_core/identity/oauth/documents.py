"""What the OpenAPI document says about OAuth endpoints, which read forms and answer as RFC 6749 does."""

from __future__ import annotations

from typing import Any, Final

from fastapi.responses import JSONResponse

from platform_core.identity.errors import (
    ACCESS_UNAVAILABLE,
    MERCHANT_NEEDED,
    SCOPE_MISSING,
    TOKEN_INVALID,
    TOKEN_MISSING,
)
from platform_core.identity.rate_limits import RATE_EXCEEDED
from platform_core.kernel.http.openapi import refusals

_TEXT: Final = {"type": "string", "maxLength": 2048}
_ERROR: Final = {
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "required": ["error", "error_description"],
                "properties": {
                    "error": {"type": "string"},
                    "error_description": {"type": "string"},
                    "error_uri": {"type": "string"},
                },
            }
        }
    }
}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "Refused, with the reason as RFC 6749 section 5.2 names it.", **_ERROR},
    401: {"description": "The client in the Authorization header is unknown or its secret is wrong.", **_ERROR},
    413: {"description": "The body is larger than 64 KiB.", **_ERROR},
}
_CLIENT: Final = ("client_id", "client_secret", "client_assertion_type", "client_assertion")
_REQUEST: Final = (
    "response_type", "redirect_uri", "scope", "state", "code_challenge", "code_challenge_method", "resource",
    "authorization_details", "dpop_jkt", "prompt", "max_age", "acr_values", "ui_locales", "nonce",
    "grant_management_action", "grant_id",
)  # fmt: skip


def _form(*required: str, optional: tuple[str, ...]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": list(required),
        "properties": {name: dict(_TEXT) for name in (*required, *optional)},
    }
    return {"requestBody": {"required": True, "content": {"application/x-www-form-urlencoded": {"schema": schema}}}}


def _answer(description: str, required: dict[str, Any], **optional: Any) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": {**required, **optional}}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_STRING: Final = {"type": "string"}
_TOKEN: Final = _answer(
    "An access token.",
    {
        "access_token": _STRING,
        "token_type": {"type": "string", "enum": ["Bearer", "DPoP"]},
        "expires_in": {"type": "integer"},
    },
    scope=_STRING,
    refresh_token=_STRING,
    id_token=_STRING,
    grant_id=_STRING,
    authorization_details={"type": "array", "items": {"type": "object"}},
)
AUTHORIZE: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {
        303: {"description": "To the consent page, or with an error to the app's registered address."},
        400: {
            "description": "No app, or no address of it, is proven: a page of ours, `identity.authorization_refused`."
        },
    },
    "openapi_extra": {
        "parameters": [
            {"name": name, "in": "query", "required": name == "client_id", "schema": dict(_TEXT)}
            for name in ("client_id", "request_uri", *_REQUEST)
        ]
    },
}
PAR: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {
        201: _answer("Kept for 90 seconds.", {"request_uri": _STRING, "expires_in": {"type": "integer"}}),
        **_REFUSALS,
    },
    "openapi_extra": _form("response_type", optional=(*_CLIENT, *_REQUEST[1:])),
}
TOKEN: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {200: _TOKEN, **_REFUSALS},
    "openapi_extra": _form(
        "grant_type",
        optional=(
            *_CLIENT,
            "scope",
            "resource",
            "code",
            "redirect_uri",
            "code_verifier",
            "refresh_token",
            "device_code",
            "subject_token",
            "subject_token_type",
            "requested_token_type",
            "audience",
        ),
    ),
}
DEVICE: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {
        200: _answer(
            "The codes, for ten minutes: one to poll with, one to show to a person.",
            {
                "device_code": _STRING,
                "user_code": _STRING,
                "verification_uri": _STRING,
                "verification_uri_complete": _STRING,
                "expires_in": {"type": "integer"},
                "interval": {"type": "integer"},
            },
        ),
        **_REFUSALS,
    },
    "openapi_extra": _form("scope", optional=(*_CLIENT, "resource", "authorization_details")),
}
INTROSPECT: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {200: _answer("The token, or that it is none.", {"active": {"type": "boolean"}}), **_REFUSALS},
    "openapi_extra": _form("token", optional=(*_CLIENT, "token_type_hint")),
}
REVOKE: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {200: {"description": "The token is not valid any more, if it was yours."}, **_REFUSALS},
    "openapi_extra": _form("token", optional=(*_CLIENT, "token_type_hint")),
}
USERINFO: Final[dict[str, Any]] = {
    "response_class": JSONResponse,
    "responses": {
        200: _answer("The merchant.", {"sub": _STRING, "mode": _STRING}),
        **refusals(TOKEN_MISSING, TOKEN_INVALID, SCOPE_MISSING, MERCHANT_NEEDED, RATE_EXCEEDED, ACCESS_UNAVAILABLE),
    },
}
