"""Examples for the OpenAPI document: of each problem in both languages, and of any value out of its schema."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from platform_core.kernel.errors import VALIDATION_FAILED, ErrorCode
from platform_core.kernel.http.problem import Problems
from platform_core.kernel.http.validation import FIELD_MISSING
from platform_core.kernel.i18n import Language, Text

Json = Any  # one JSON value
ID_BODY: Final = "01m7zzzzzzzzzzzzzzzzzzzzzz"
REQUEST_ID: Final = f"req_{ID_BODY}"
_ID_PATTERN: Final = re.compile(r"^\^([a-z][a-z0-9]{1,11})_\[")
_LANGUAGES: Final[tuple[Language, ...]] = ("en", "zh")
_DEPTH_MAX: Final = 10
_FORMATS: Final = {"date-time": "2026-11-22T04:00:00Z", "date": "2026-11-22", "uri": "https://shop.example/hooks"}
_PATTERNS: Final = (  # the first that fits a pattern
    "order_20261122_1",
    "CNY",
    "2026-11-22",
    "payment.captured",
    "https://shop.example/return",
    "280000000000000000",
    "cash",
    "1",
)
_PLACES: Final[Mapping[str, object]] = {
    "reason": Text(en="the reason in words", zh="具体原因"),
    "limit": 20,
    "count": 1,
    "amount": "120.00 CNY",
    "per_s": 200,
    "policy": "app",
    "versions": "2026-11-22",
    "state": "closed",
    "act": "capture",
    "scope": "payments:read",
    "position": 19,
    "path": "/v1/webhook-endpoints/whe_" + ID_BODY,
    "allowed": "GET",
    "kind": "payment",
    "currency": "CNY",
    "form": "merchant_scan",
    "why": "",
    "url": "https://shop.example/hooks",
    "api_version": "2026-11-22",
    "event_types": "payment.captured",
    "event_type": "payment.captured",
    "type": "payment.captured",
    "out_trade_no": "order_20261122_1",
    "out_request_no": "refund_20261122_1",
    "subject": "Two coffees",
    "channel": "alipay",
    "time_zone": "Asia/Shanghai",
    "industry": "retail.convenience",
    "name": "Drum Tower",
    "secret": "whsec_" + "A" * 43 + "=",
    "unit": "CNY",
    "role": "merchant_available",
    "day": "2026-11-22",
    "operation": "payments.create",
    "method": "POST",
}


def problem_examples(errors: Iterable[ErrorCode], type_base: str) -> dict[str, Json]:
    """The examples by `<code>.<language>`, as components of the document."""
    problems = Problems(type_base=type_base)
    found = {}
    for error in errors:
        for language in _LANGUAGES:
            values = {place: _value_at(place) for place in sorted(error.places)}
            faults = [FIELD_MISSING.fault("/subject")] if error is VALIDATION_FAILED else []
            made = error.error(values, faults=faults)
            value = problems.document(made, language=language, request_id=REQUEST_ID, instance="/v1/payments")
            found[f"{error.code}.{language}"] = {"summary": error.title.say(language), "value": value}
    return found


def _value_at(place: str) -> object:
    if place in _PLACES:
        return _PLACES[place]
    if place == "id" or place.endswith("_id"):
        return f"{'id' if place == 'id' else place.removesuffix('_id')[:3]}_{ID_BODY}"
    return 100 if place.endswith(("_minor", "days", "max", "attempts")) else place


def example_of(schema: Mapping[str, Any], document: Mapping[str, Any], *, name: str = "", depth: int = 0) -> Json:
    """A value that the schema takes: every required member, the first choice, the least of what is bounded."""
    if "$ref" in schema:
        inner = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return example_of(inner, document, name=name, depth=depth + 1)
    for given in ("const", "default", "example"):
        if schema.get(given) is not None:
            return schema[given]
    if schema.get("examples"):
        return schema["examples"][0]
    if "enum" in schema:
        return schema["enum"][0]
    branches = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if branches:
        is_null = [branch.get("type") == "null" for branch in branches]
        if any(is_null) and (depth > 2 or name.startswith(("last_", "failed", "error"))):
            return None
        return example_of(branches[is_null.index(False)], document, name=name, depth=depth + 1)
    return _of_type(schema, document, name, depth)


def _of_type(schema: Mapping[str, Any], document: Mapping[str, Any], name: str, depth: int) -> Json:
    match schema.get("type"):
        case "object":
            return _object(schema, document, depth)
        case "array":
            count = max(schema.get("minItems", 0), 0 if depth > _DEPTH_MAX else 1)
            return [example_of(schema.get("items", {}), document, name=name, depth=depth + 1) for _ in range(count)]
        case "integer" | "number":
            return max(schema.get("minimum", 0), min(schema.get("maximum", 100), 100))
        case "boolean":
            return False
        case "string":
            return _text(schema, name)
        case "null":
            return None
        case _:
            return {}


def _object(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int) -> Json:
    if depth > _DEPTH_MAX:
        return {}
    wanted = schema.get("required", ())
    properties = schema.get("properties", {})
    return {
        member: example_of(inner, document, name=member, depth=depth + 1)
        for member, inner in properties.items()
        if member in wanted
    }


def _text(schema: Mapping[str, Any], name: str) -> str:
    if schema.get("format") in _FORMATS:
        return _FORMATS[schema["format"]]
    pattern = schema.get("pattern")
    if pattern is not None:
        prefix = _ID_PATTERN.match(pattern)
        if prefix is not None:
            return f"{prefix[1]}_{ID_BODY}"
        return next((text for text in _PATTERNS if re.search(pattern, text)), name)
    is_known = name in _PLACES or name == "id" or name.endswith("_id")
    text = _value_at(name) if is_known else name.replace("_", " ") or "text"
    least = schema.get("minLength", 0)
    return str(text).ljust(least, "x")[: schema.get("maxLength", 256)]
