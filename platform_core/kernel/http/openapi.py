"""What a route says of itself in the OpenAPI document: bodies parsed strictly, answers encoded once, refusals."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from platform_core.kernel.errors import ErrorCode

PROBLEM: Final = "application/problem+json"
_bodies: dict[str, type[BaseModel]] = {}


def documented(
    *,
    answer: type[BaseModel],
    body: type[BaseModel] | None = None,
    status: int = 200,
    also: Iterable[int] = (),
    errors: Iterable[ErrorCode] = (),
    is_idempotent: bool = False,
) -> dict[str, Any]:
    """Keyword arguments for a route: `status` and `also` answer with `answer`, `errors` with a problem.

    `body` is documented although FastAPI does not parse it. `is_idempotent` documents the Idempotency-Key.
    """
    _bodies[answer.__name__] = answer
    responses: dict[int | str, dict[str, Any]] = {
        code: {"description": answer.__doc__ or "", "content": {"application/json": {"schema": _ref(answer)}}}
        for code in (status, *also)
    }
    by_status: dict[int, list[str]] = {}
    for error in errors:
        by_status.setdefault(error.status, []).append(error.code)
    for code, names in sorted(by_status.items()):
        responses[code] = {"description": ", ".join(sorted(names)), "content": {PROBLEM: {"schema": _PROBLEM_REF}}}
    extra: dict[str, Any] = {"parameters": [_IDEMPOTENCY_KEY]} if is_idempotent else {}
    if body is not None:
        _bodies[body.__name__] = body
        extra["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    return {"status_code": status, "responses": responses, "openapi_extra": extra, "response_class": _Encoded}


class _Encoded:
    """Stands for an answer that the route encodes itself."""

    media_type = None


_PROBLEM_REF: Final = {"$ref": "#/components/schemas/Problem"}
_IDEMPOTENCY_KEY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": True,
    "description": "1 to 255 visible ASCII characters; the same key and body again get the same answer.",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
}
_ANYWHERE: Final = {
    "400": "The request cannot be read.",
    "401": "No valid access token.",
    "403": "The token lacks the scope.",
    "404": "There is nothing under this id, or it is not the caller's.",
    "413": "The body is larger than 256 KiB.",
    "415": "The body is not JSON in UTF-8.",
    "422": "The request is readable but not valid; `errors` lists every fault.",
    "429": "Too many requests; see Retry-After.",
    "431": "The headers are too large.",
    "503": "Come again; see Retry-After.",
}


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def openapi_document(app: FastAPI, problem_schema: dict[str, Any]) -> dict[str, Any]:
    """The OpenAPI document with strict bodies, encoded answers, and what any route may refuse."""
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, definitions = models_json_schema(
        [
            (model, "serialization" if model.__name__.endswith(("Read", "List")) else "validation")
            for model in _bodies.values()
        ],
        ref_template="#/components/schemas/{model}",
    )
    schemas.update(definitions.get("$defs", {}))
    schemas["Problem"] = problem_schema
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            responses = operation["responses"]
            for code, text in _ANYWHERE.items():
                if code in ("401", "403") and not operation.get("security"):
                    continue
                if not path.startswith("/v1") or (code == "404" and "{" not in path):
                    continue
                given = responses.get(code)
                if given is None or "HTTPValidationError" in str(given):
                    responses[code] = {"description": text, "content": {PROBLEM: {"schema": _PROBLEM_REF}}}
    return document
