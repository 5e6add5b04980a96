"""What a route says of itself in the OpenAPI document: bodies parsed strictly, answers encoded once, refusals."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from platform_core.kernel.errors import VALIDATION_FAILED, ErrorCode
from platform_core.kernel.http.body import MEDIA_TYPE_UNSUPPORTED
from platform_core.kernel.http.envelope import BODY_TOO_LARGE
from platform_core.kernel.http.idempotency import IN_FLIGHT, KEY_MALFORMED, KEY_MISSING, KEY_REUSED
from platform_core.kernel.http.preconditions import PRECONDITION_FAILED, PRECONDITION_MISSING
from platform_core.kernel.http.strict_json import JSON_INVALID

PROBLEM: Final = "application/problem+json"
CODES: Final = "x-codes"
"""The codes of an answer, as the document carries them; each has an example."""
_answers: dict[str, type[BaseModel]] = {}
_bodies: dict[str, type[BaseModel]] = {}
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9.\-_]")

READS_A_BODY: Final = (JSON_INVALID, BODY_TOO_LARGE, MEDIA_TYPE_UNSUPPORTED, VALIDATION_FAILED)
IS_ONCE: Final = (KEY_MISSING, KEY_MALFORMED, KEY_REUSED, IN_FLIGHT)
NEEDS_A_MATCH: Final = (PRECONDITION_MISSING, PRECONDITION_FAILED)


def documented(
    *,
    answer: type[BaseModel] | None,
    body: type[BaseModel] | None = None,
    status: int = 200,
    also: Iterable[int] = (),
    errors: Iterable[ErrorCode] = (),
    is_idempotent: bool = False,
    has_etag: bool = False,
    needs_match: bool = False,
    begins_operation: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a route that encodes its answer itself: `status` and `also` answer with `answer` (None:
    nothing), `errors` with a problem.

    `body` is documented although FastAPI does not parse it. `is_idempotent` documents the Idempotency-Key,
    `needs_match` If-Match, `has_etag` the ETag and 304, `begins_operation` the Location; what goes with them is
    refused by codes that need not be listed.
    """
    responses = {code: _success(answer, has_etag=has_etag, has_location=begins_operation) for code in (status, *also)}
    if has_etag and not (needs_match or is_idempotent):
        responses[304] = {"description": "If-None-Match names what is there.", "headers": {"ETag": _header("ETag")}}
    parameters = [
        {"$ref": f"#/components/parameters/{name}"}
        for name, is_wanted in (
            ("IdempotencyKey", is_idempotent),
            ("IfMatch", needs_match),
            ("IfNoneMatch", 304 in responses),
        )
        if is_wanted
    ]
    extra: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if body is not None:
        _bodies[name_of(body)] = body
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    implied = (
        *(READS_A_BODY if body is not None else ()),
        *(IS_ONCE if is_idempotent else ()),
        *(NEEDS_A_MATCH if needs_match else ()),
    )
    return {
        "status_code": status,
        "responses": responses | refusals(*errors, *implied),
        "openapi_extra": extra,
        "response_class": _Encoded,
    }


def refusals(*errors: ErrorCode) -> dict[int | str, dict[str, Any]]:
    """`responses` of the refusals of a route, by status: for a route whose answer FastAPI encodes."""
    by_status: dict[int, set[str]] = {}
    for error in errors:
        by_status.setdefault(error.status, set()).add(error.code)
    return {
        status: {"description": ", ".join(sorted(codes)), CODES: sorted(codes), "content": {PROBLEM: {}}}
        for status, codes in sorted(by_status.items())
    }


def declared_models() -> list[tuple[type[BaseModel], Any]]:  # Any: pydantic's mode
    """Every model that a route documents by itself, with the mode of its schema."""
    return [
        *((model, "serialization") for model in _answers.values()),
        *((model, "validation") for model in _bodies.values()),
    ]


def name_of(model: type[BaseModel]) -> str:
    """The model's name among the document's schemas."""
    return _NOT_IN_A_NAME.sub("_", model.__name__)


class _Encoded:
    """Stands for an answer that the route encodes itself."""

    media_type = None


def _success(answer: type[BaseModel] | None, *, has_etag: bool, has_location: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"description": "Done." if answer is None else answer.__doc__ or ""}
    names = [name for name, is_there in (("ETag", has_etag), ("Location", has_location)) if is_there]
    if names:
        found["headers"] = {name: _header(name) for name in names}
    if answer is not None:
        _answers[name_of(answer)] = answer
        found["content"] = {"application/json": {"schema": _ref(answer)}}
    return found


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name_of(model)}"}
