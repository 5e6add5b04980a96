"""What of a body may be written down: fields that its schema names, but those marked secret or personal.

Marks stand in the schemas: `Annotated[str, SECRET]`, `Annotated[str, PERSONAL]`. A field that no schema names is left
out too, since nobody knows what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from pydantic import Field

from platform_core.kernel.http.recast import ENCODER

MARK: Final = "x-arsenal-mark"
SECRET: Final[Any] = Field(json_schema_extra={MARK: "secret"})  # Any: pydantic types Field() so
PERSONAL: Final[Any] = Field(json_schema_extra={MARK: "personal"})
UNKNOWN: Final = "[not in the schema]"
_DEPTH_MAX: Final = 16
_KEYS_MAX: Final = 200

Json = Any  # one JSON value


@dataclass(slots=True)
class Redactor:
    """What one place of a schema lets through."""

    mark: str | None = None
    is_open: bool = False
    """Whatever stands here passes: a plain value, or an object whose names are the caller's own."""
    fields: dict[str, Redactor] = field(default_factory=dict)
    items: Redactor | None = None
    values: Redactor | None = None
    """Of members that `fields` does not name."""

    def shown(self, value: Json) -> Json:
        """The value without what must not be seen; the shape stays as far as the schema knows it."""
        if self.mark is not None and value is not None:
            return f"[{self.mark}]"
        if isinstance(value, dict):
            return {name: self._member(name, inner) for name, inner in list(value.items())[:_KEYS_MAX]}
        if isinstance(value, list):
            items = self.items
            return [items.shown(inner) for inner in value] if items is not None else self._unless_open(value)
        return value

    def _member(self, name: str, inner: Json) -> Json:
        known = self.fields.get(name) or self.values
        return known.shown(inner) if known is not None else self._unless_open(inner)

    def _unless_open(self, value: Json) -> Json:
        return value if self.is_open else UNKNOWN


def redacted(raw: bytes, redactor: Redactor) -> str | None:
    """A JSON body as it may be kept; None for what is no JSON. Of what no schema knows only the name is kept."""
    try:
        document = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return ENCODER.encode(redactor.shown(document)).decode().replace("\\u0000", "\\ufffd")


@dataclass(frozen=True, slots=True)
class BodyRedactors:
    """One operation's: of what it is sent, and of what it answers when it succeeds."""

    request: Redactor
    answer: Redactor


def redactors_of(document: Mapping[str, Any]) -> dict[str, BodyRedactors]:  # Any: JSON
    """Redactors by operationId, out of the OpenAPI document."""
    found = {}
    for methods in document["paths"].values():
        for operation in methods.values():
            answers = [
                _content(answer) for status, answer in operation["responses"].items() if str(status).startswith("2")
            ]
            found[operation["operationId"]] = BodyRedactors(
                request=_redactor([_content(operation.get("requestBody", {}))], document, 0),
                answer=_redactor(answers, document, 0),
            )
    return found


def _content(part: Mapping[str, Any]) -> Mapping[str, Any]:
    schema: Mapping[str, Any] = part.get("content", {}).get("application/json", {}).get("schema", {})
    return schema


def _redactor(schemas: list[Mapping[str, Any]], document: Mapping[str, Any], depth: int) -> Redactor:
    """One redactor for all schemas that may hold at a place: a mark in any of them counts."""
    flat = [leaf for schema in schemas for leaf in _leaves(schema, document, 0)]
    made = Redactor(mark=next((leaf[MARK] for leaf in flat if MARK in leaf), None))
    if depth == _DEPTH_MAX:
        return made
    names = {name for leaf in flat for name in leaf.get("properties", {})}
    for name in sorted(names):
        inner = [leaf["properties"][name] for leaf in flat if name in leaf.get("properties", {})]
        made.fields[name] = _redactor(inner, document, depth + 1)
    items = [leaf["items"] for leaf in flat if isinstance(leaf.get("items"), Mapping)]
    made.items = _redactor(items, document, depth + 1) if items else None
    values = [leaf["additionalProperties"] for leaf in flat if isinstance(leaf.get("additionalProperties"), Mapping)]
    made.values = _redactor(values, document, depth + 1) if values else None
    made.is_open = any(leaf.get("additionalProperties") is True for leaf in flat)
    return made


def _leaves(schema: Mapping[str, Any], document: Mapping[str, Any], depth: int) -> list[Mapping[str, Any]]:
    """A schema with its references followed and its branches side by side."""
    if depth == _DEPTH_MAX:
        return []
    found: list[Mapping[str, Any]] = [schema]
    reference = schema.get("$ref")
    if reference is not None:
        found += _leaves(document["components"]["schemas"][reference.rpartition("/")[2]], document, depth + 1)
    for branch in ("anyOf", "oneOf", "allOf"):
        for inner in schema.get(branch, ()):
            found += _leaves(inner, document, depth + 1)
    return found
