"""The OpenAPI document, made whole: what every route may refuse, with examples in both languages, and its headers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from platform_core.kernel.commit.errors import COMMIT_BUSY, COMMIT_UNAVAILABLE, COMMIT_UNKNOWN
from platform_core.kernel.errors import VALIDATION_FAILED, ErrorCode, catalogue
from platform_core.kernel.http.envelope import BODY_TOO_LARGE, HEADERS_TOO_LARGE, TARGET_TOO_LONG
from platform_core.kernel.http.handlers import DATABASE_UNAVAILABLE, NOT_FOUND, REQUEST_MALFORMED
from platform_core.kernel.http.openapi import CODES, PROBLEM, declared_models
from platform_core.kernel.http.openapi_examples import example_of, problem_examples
from platform_core.kernel.http.version import VERSION_UNKNOWN
from platform_core.kernel.pagination import CURSOR_INVALID

Json = dict[str, Any]  # one JSON object
API: Final = ("/v1/", "/sandbox/v1/")
METHODS: Final = ("get", "put", "post", "patch", "delete")
_TEXT: Final = {"type": "string"}

HEADERS: Final[Json] = {
    "RequestId": ("Request-Id", "Names this request to the operator, and in the request log.", "^req_[0-9a-z]{26}$"),
    "ArsenalVersion": ("Arsenal-Version", "The version that the answer has the shape of.", r"^\d{4}-\d{2}-\d{2}$"),
    "RateLimitPolicy": ("RateLimit-Policy", 'Each limit: `"app";q=400;w=2` is 400 requests in any 2 s.', None),
    "RateLimit": ("RateLimit", 'What is left: `"app";r=57;t=1` is 57 now, all again in 1 s.', None),
    "Deprecation": ("Deprecation", "Of a version on its way out: since when (RFC 9745).", None),
    "Sunset": ("Sunset", "Of a version on its way out: until when it is served (RFC 8594).", None),
    "ContentLanguage": ("Content-Language", "The language of the words: en or zh.", None),
    "RetryAfter": ("Retry-After", "Seconds to wait before the next try.", r"^\d+$"),
    "WwwAuthenticate": ("WWW-Authenticate", "What is missing (RFC 6750).", None),
    "IdempotencyReplayed": ("Idempotency-Replayed", "`true`: the answer to an earlier request under this key.", None),
    "ETag": ("ETag", "The object's version, for If-Match and If-None-Match.", r'^"\d{1,18}"$'),
    "Location": ("Location", "Where the operation is read.", "^/v1/operations/opr_[0-9a-z]{26}$"),
}
"""Component, name, meaning, form."""
PARAMETERS: Final[Json] = {
    "ArsenalVersion": {
        "name": "Arsenal-Version",
        "description": "The version of the API that the request is written for; by default the app's own.",
        "schema": _TEXT,
    },
    "AcceptLanguage": {
        "name": "Accept-Language",
        "description": "Language of the words in problems: en or zh.",
        "schema": _TEXT,
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "required": True,
        "description": "1 to 255 visible ASCII characters; the same key and body again get the same answer.",
        "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
        "example": "3f2b6c1e-7a3e-4a53-9d0c-0f6f2a1f7c11",
    },
    "IfMatch": {
        "name": "If-Match",
        "required": True,
        "description": "The ETag that the change was decided on.",
        "schema": {"type": "string", "pattern": r'^"\d{1,18}"$'},
        "example": '"1"',
    },
    "IfNoneMatch": {
        "name": "If-None-Match",
        "description": "The ETags that the caller has; 304 if one of them still stands.",
        "schema": _TEXT,
    },
}
_ALWAYS: Final = ("RequestId", "ArsenalVersion", "RateLimitPolicy", "RateLimit", "Deprecation", "Sunset")
_HEADERS_OF: Final[Mapping[str, Sequence[str]]] = {
    **dict.fromkeys(("401", "403"), ("WwwAuthenticate",)),
    **dict.fromkeys(("429", "503"), ("RetryAfter",)),
}
_ANYWHERE: Final = (REQUEST_MALFORMED, TARGET_TOO_LONG, HEADERS_TOO_LARGE, BODY_TOO_LARGE, DATABASE_UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class Conventions:
    """What the layers above the kernel add to every route."""

    problem_schema: Json
    type_base: str
    """Address before a code, as in the `type` of problems."""
    guarded: Sequence[ErrorCode]
    """What every route with a token may refuse."""
    stranger: Sequence[ErrorCode]
    """What every route without one may refuse."""
    of_scope: Callable[[str, str], Sequence[ErrorCode]]
    """What a route of this scope and method (lower case) may refuse besides."""


def openapi_document(app: FastAPI, conventions: Conventions) -> Json:
    """The document with strict bodies, encoded answers, and everything that any route of /v1 may refuse."""
    document: Json = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    _add_schemas(components, conventions.problem_schema)
    components["headers"] = {name: _header(*words) for name, words in HEADERS.items()}
    components["parameters"] = {name: {"in": "header", **words} for name, words in PARAMETERS.items()}
    used: set[str] = set()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            if method in METHODS and path.startswith(API):
                used |= _complete(operation, method, path, conventions)
    components["examples"] = problem_examples([catalogue()[code] for code in sorted(used)], conventions.type_base)
    _add_answers(document)
    _drop_unused(document)
    return document


def _drop_unused(document: Json) -> None:
    """Schemas that no operation leads to go: models of routes that another application of this process serves."""
    schemas = document["components"]["schemas"]
    used: set[str] = set()
    fresh = {"Problem"} | _schemas_in(document["paths"]) | _schemas_in({**document["components"], "schemas": {}})
    while fresh:
        used |= fresh
        fresh = set().union(*(_schemas_in(schemas[name]) for name in fresh)) - used
    for name in schemas.keys() - used:
        del schemas[name]


def _schemas_in(part: object) -> set[str]:
    """The names of schemas that a part of the document refers to."""
    if isinstance(part, dict):
        named = part.get("$ref")
        own = {named.rpartition("/")[2]} if isinstance(named, str) and "/schemas/" in named else set()
        return own.union(*map(_schemas_in, part.values()))
    return set().union(*map(_schemas_in, part)) if isinstance(part, list) else set()


def _add_schemas(components: Json, problem: Json) -> None:
    schemas = components.setdefault("schemas", {})
    _, definitions = models_json_schema(declared_models(), ref_template="#/components/schemas/{model}")
    schemas.update(definitions.get("$defs", {}))
    schemas["Problem"] = problem
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)


def _header(name: str, meaning: str, pattern: str | None) -> Json:
    return {"description": f"{name}: {meaning}", "schema": _TEXT | ({} if pattern is None else {"pattern": pattern})}


def _complete(operation: Json, method: str, path: str, conventions: Conventions) -> set[str]:
    """Add to one operation what the conventions say; returns the codes that it names."""
    parameters = operation.setdefault("parameters", [])
    names = {parameter.get("name") or parameter["$ref"].rpartition("/")[2] for parameter in parameters}
    responses = operation["responses"]
    codes: dict[str, set[str]] = {}
    if "HTTPValidationError" in str(responses.get("422")):  # parameters with a form
        codes["422"] = {VALIDATION_FAILED.code}
    for status, answer in list(responses.items()):
        if "HTTPValidationError" in str(answer):
            del responses[status]  # the framework's own words
        elif CODES in answer:
            codes.setdefault(str(status), set()).update(answer[CODES])
    for error in _implied(operation, method, names, conventions):
        codes.setdefault(str(error.status), set()).add(error.code)
    if "{" in path and "404" not in codes:
        codes["404"] = {NOT_FOUND.code}
    parameters += [{"$ref": f"#/components/parameters/{name}"} for name in ("ArsenalVersion", "AcceptLanguage")]
    for status, found in codes.items():
        responses[status] = _refusal(status, found)
    for status, answer in responses.items():
        wanted = [*_ALWAYS, *(["IdempotencyReplayed"] if "IdempotencyKey" in names and status[0] in "2" else [])]
        own = answer.setdefault("headers", {})
        own.update({HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in wanted})
    operation["responses"] = dict(sorted(responses.items()))
    return set().union(*codes.values())


def _implied(operation: Json, method: str, names: set[str], conventions: Conventions) -> Iterable[ErrorCode]:
    yield from _ANYWHERE
    if operation.get("security"):
        yield VERSION_UNKNOWN
        yield from conventions.guarded
        for scope in operation["security"][0]["oauth2"]:
            yield from conventions.of_scope(scope, method)
    else:
        yield from conventions.stranger
    if any(parameter.get("in") == "query" for parameter in operation["parameters"]):
        yield VALIDATION_FAILED
    if "cursor" in names:
        yield CURSOR_INVALID
    if {"IdempotencyKey", "IfMatch"} & names:
        yield from (COMMIT_BUSY, COMMIT_UNAVAILABLE, COMMIT_UNKNOWN)


def _refusal(status: str, codes: set[str]) -> Json:
    headers = ["ContentLanguage", *_HEADERS_OF.get(status, ())]
    examples = {
        f"{code}.{language}": {"$ref": f"#/components/examples/{code}.{language}"}
        for code in sorted(codes)
        for language in ("en", "zh")
    }
    return {
        "description": ", ".join(sorted(codes)),
        CODES: sorted(codes),
        "headers": {HEADERS[name][0]: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}, "examples": examples}},
    }


def _add_answers(document: Json) -> None:
    """An example of every answer that is JSON and has none, out of its schema."""
    for operations in document["paths"].values():
        for operation in operations.values():
            parts: list[Mapping[str, Any]] = [operation.get("requestBody", {}), *operation["responses"].values()]
            for part in parts:
                content = part.get("content", {}).get("application/json")
                if content and "schema" in content and not {"example", "examples"} & content.keys():
                    content["example"] = example_of(content["schema"], document)
