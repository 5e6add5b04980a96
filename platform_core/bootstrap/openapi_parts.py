"""What the served OpenAPI document says beyond the routes' own words: the shape of a problem, and who is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fastapi import FastAPI

from platform_core.contracts.scopes import catalogue
from platform_core.identity.errors import (
    ACCESS_UNAVAILABLE,
    MERCHANT_NEEDED,
    SCOPE_MISSING,
    TOKEN_INVALID,
    TOKEN_MISSING,
)
from platform_core.identity.errors_people import CONSOLE_UNCLEAR, CSRF_REFUSED, SIGN_IN_REQUIRED, STEP_UP_REQUIRED
from platform_core.identity.rate_limits import CONCURRENCY_EXCEEDED, RATE_EXCEEDED
from platform_core.kernel.errors import ErrorCode
from platform_core.kernel.http.openapi_document import Conventions, openapi_document

_TEXT: Final = {"type": "string"}
PROBLEM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "description": "RFC 9457 problem details.",
    "required": ["type", "title", "status", "detail", "instance", "code", "retryable"],
    "properties": {
        "type": {"type": "string", "format": "uri", "description": "Address of the page about the code."},
        "title": _TEXT,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _TEXT,
        "instance": {**_TEXT, "description": "The path that was asked for."},
        "code": {"type": "string", "description": "Stable: docs/reference/errors.md."},
        "param": {"type": "string", "description": "JSON Pointer to the field to blame."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["param", "code", "detail"],
                "properties": {"param": _TEXT, "code": _TEXT, "detail": _TEXT},
            },
        },
        "hint": {"type": "string", "description": "The next step."},
        "retryable": {"type": "boolean", "description": "Whether the same request may succeed later, unchanged."},
        "request_id": _TEXT,
        "plugin": {"type": "string", "description": "The plugin to blame."},
    },
}


def _of_people(scope: str, method: str) -> Sequence[ErrorCode]:
    """What is refused to somebody at a console, on routes that no app can use."""
    declared = catalogue()[scope]
    if declared.is_for_apps:
        return ()
    is_write = method not in ("get", "head")
    step_up = (STEP_UP_REQUIRED,) if is_write and declared.needs_step_up else ()
    return (SIGN_IN_REQUIRED, CONSOLE_UNCLEAR, *((CSRF_REFUSED,) if is_write else ()), *step_up)


def complete_document(app: FastAPI) -> dict[str, Any]:  # Any: JSON
    """The document of an application that has all its routes."""
    conventions = Conventions(
        problem_schema=PROBLEM_SCHEMA,
        type_base="https://api.example/problems/",
        guarded=(
            TOKEN_MISSING,
            TOKEN_INVALID,
            ACCESS_UNAVAILABLE,
            RATE_EXCEEDED,
            CONCURRENCY_EXCEEDED,
            SCOPE_MISSING,
            MERCHANT_NEEDED,
        ),
        stranger=(RATE_EXCEEDED,),
        of_scope=_of_people,
    )
    return openapi_document(app, conventions)
