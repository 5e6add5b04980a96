"""The subset of JSON Schema in which a plugin describes its configuration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from platform_core.plugin_host.config_schema import NO_SCHEMA, SchemaRefused, read_schema

pytestmark = pytest.mark.unit
TITLE = {"title": {"zh": "名", "en": "Name"}}


def schema(properties: dict[str, Any], **more: Any) -> Any:
    titled = {name: {**TITLE, **inner} if isinstance(inner, dict) else inner for name, inner in properties.items()}
    document = {"type": "object", "properties": titled, **more}
    return read_schema(json.dumps(document).encode())


def of(inner: dict[str, Any]) -> dict[str, Any]:
    """A schema with one property `a`."""
    return {"type": "object", "properties": {"a": {**inner, **TITLE}}}


def wrong(read: Any, value: Any) -> list[tuple[str, str]]:
    return [(fault.param, fault.code) for fault in read.check(json.dumps(value).encode())]


FULL = {
    "level": {"type": "integer", "minimum": 1, "maximum": 9},
    "name": {"type": "string", "minLength": 2, "maxLength": 5, "pattern": "^[a-z]+$"},
    "on": {"type": "boolean", "default": True},
    "mode": {"type": "string", "enum": ["soft", "hard"], "default": "soft"},
    "hosts": {"type": "array", "items": {"$ref": "#/$defs/host"}, "maxItems": 2, "uniqueItems": True},
}
HOST = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string", **TITLE}, "port": {"type": "integer", "default": 443, **TITLE}},
}


def test_a_value_is_checked_in_all_its_places_at_once() -> None:
    read = schema(FULL, required=["level"], **{"$defs": {"host": HOST}})
    assert wrong(read, {"level": 3, "name": "abc", "hosts": [{"name": "a"}, {"name": "b"}]}) == []
    assert wrong(read, {}) == [("/config/level", "kernel.field_missing")]
    found = wrong(read, {"level": 10, "name": "A", "on": 1, "mode": "x", "hosts": [{}], "other": 1})
    assert {param for param, _ in found} == {
        "/config/level",
        "/config/name",
        "/config/on",
        "/config/mode",
        "/config/hosts/0/name",
        "/config/other",
    }
    assert [param for param, _ in wrong(read, {"level": 1, "hosts": [{"name": "a"}, {"name": "a"}]})] == [
        "/config/hosts"
    ]
    assert [param for param, _ in wrong(read, {"level": 1, "name": None})] == ["/config/name"]
    assert [param for param, _ in wrong(read, {"level": "3"})] == ["/config/level"], "nothing is converted"


def test_defaults_are_filled_in_and_nothing_else() -> None:
    read = schema(FULL, required=["level"], **{"$defs": {"host": HOST}})
    filled = json.loads(read.complete(b'{"level":3,"hosts":[{"name":"a"}]}'))
    assert filled == {"level": 3, "on": True, "mode": "soft", "hosts": [{"name": "a", "port": 443}]}


def test_a_plugin_without_configuration_takes_the_empty_object_alone() -> None:
    assert NO_SCHEMA.check(b"{}") == ()
    assert [fault.param for fault in NO_SCHEMA.check(b'{"x":1}')] == ["/config/x"]


@pytest.mark.parametrize(
    ("where", "document"),
    [
        ("", []),
        ("", {"type": "array"}),
        ("/$schema", {"type": "object", "$schema": "http://json-schema.org/draft-07/schema#"}),
        ("/allOf", {"type": "object", "allOf": []}),
        ("/additionalProperties", {"type": "object", "additionalProperties": True}),
        ("", {"type": "object", "properties": {}, "required": ["a"]}),
        ("/properties/A", {"type": "object", "properties": {"A": {"type": "string", **TITLE}}}),
        ("/properties/a/title", {"type": "object", "properties": {"a": {"type": "string", "title": {"en": "A"}}}}),
        ("/properties/a/type", of({"type": "number"})),
        ("/properties/a/type", of({"type": ["string"]})),
        ("/properties/a/format", of({"type": "string", "format": "x"})),
        (
            "/properties/a/pattern",
            {"type": "object", "properties": {"a": {"type": "string", "pattern": "(?=a)", **TITLE}}},
        ),
        (
            "/properties/a/minLength",
            {"type": "object", "properties": {"a": {"type": "string", "minLength": "1", **TITLE}}},
        ),
        ("/properties/a/enum", of({"type": "string", "enum": [1]})),
        (
            "/properties/a/default",
            {"type": "object", "properties": {"a": {"type": "integer", "default": "x", **TITLE}}},
        ),
        (
            "/properties/a/default",
            {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "default": 1, **TITLE}}},
        ),
        ("/properties/a", of({"type": "array"})),
        ("/properties/a/$ref", of({"$ref": "other.json"})),
        ("/properties/a/$ref", of({"$ref": "#/$defs/none"})),
        ("/$defs/x", {"type": "object", "$defs": {"x": {"type": "string"}}}),
        (
            "/$defs/x/items/$ref",
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/x", **TITLE}},
                "$defs": {"x": {"type": "array", "items": {"$ref": "#/$defs/x"}}},
            },
        ),
    ],
)
def test_what_is_outside_the_subset_is_refused_with_its_place(where: str, document: Any) -> None:
    with pytest.raises(SchemaRefused) as caught:
        read_schema(json.dumps(document).encode())
    assert caught.value.where == where
    assert caught.value.next_step.endswith(".")


def test_no_schema_is_too_long_too_deep_or_no_json() -> None:
    deep: dict[str, Any] = {"type": "string", **TITLE}
    for _ in range(9):
        deep = {"type": "object", "properties": {"a": deep}, **TITLE}
    for raw in (b"{" * 20, b'{"type":"object","type":"object"}', b" " * 40_000, json.dumps(deep).encode()):
        with pytest.raises(SchemaRefused):
            read_schema(raw)


def test_our_own_schemas_are_inside_the_subset() -> None:
    paths = list((Path(__file__).resolve().parents[2] / "plugins").glob("*/config.schema.json"))
    assert paths
    for path in paths:
        read_schema(path.read_bytes())
