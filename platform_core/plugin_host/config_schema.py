"""A plugin's configuration: the subset of JSON Schema 2020-12 that it may be described in, and values checked by it.

https://json-schema.org/draft/2020-12 (Core and Validation, read 2026-11-22). Taken are objects, strings, integers,
booleans, arrays and enums of strings, and `$ref` to `#/$defs/...`. Everything else is refused when a release is
submitted, so that a schema that was accepted can be turned into a model and into a form without guessing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, create_model

from platform_core.kernel.errors import Fault, PlatformError
from platform_core.kernel.http.strict_json import strict_json
from platform_core.kernel.http.validation import faults_of

SCHEMA_BYTES_MAX: Final = 32 * 1024
DEPTH_MAX: Final = 8
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_EVERYWHERE: Final = frozenset({"title", "description", "default", "$ref"})
_BY_TYPE: Final[Mapping[str, frozenset[str]]] = {
    "object": frozenset({"type", "properties", "required", "additionalProperties"}),
    "string": frozenset({"type", "minLength", "maxLength", "pattern", "enum"}),
    "integer": frozenset({"type", "minimum", "maximum"}),
    "boolean": frozenset({"type"}),
    "array": frozenset({"type", "items", "minItems", "maxItems", "uniqueItems"}),
}
_AT_THE_ROOT: Final = frozenset({"$schema", "$defs"})
_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,59}", re.ASCII)
_REF: Final = re.compile(r"#/\$defs/([A-Za-z0-9_]{1,60})", re.ASCII)
_LIMITS: Final = ("minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems")
_WHOLE_MAX: Final = 2**53
Json = Any  # whatever JSON holds
_ENCODER: Final = msgspec.json.Encoder(order="deterministic")


class SchemaRefused(ValueError):
    """The schema is outside the subset: where, what was found, and what to write instead. English, for publishers."""

    def __init__(self, where: str, found: str, next_step: str) -> None:
        super().__init__(f"{where or '/'}: {found} {next_step}")
        self.where = where
        self.found = found
        self.next_step = next_step


@dataclass(frozen=True, slots=True)
class ConfigSchema:
    """A schema that was accepted."""

    document: Mapping[str, Json]
    model: type[BaseModel]

    def check(self, raw: bytes) -> tuple[Fault, ...]:
        """What is wrong with a value, by JSON Pointers below `/config`; nothing when it is valid."""
        try:
            self.model.model_validate_json(raw, strict=True)
        except ValidationError as error:
            found = faults_of(error.errors(include_url=False, include_input=False), msgspec.json.decode(raw))
            return tuple(Fault(fault.declared, f"/config{fault.param}", fault.values) for fault in found)
        return ()

    def complete(self, raw: bytes) -> bytes:
        """The value with the schema's defaults where it says nothing. Raises ValueError for one that is not valid."""
        return self.model.model_validate_json(raw, strict=True).model_dump_json(exclude_none=True).encode()


NO_SCHEMA: Final = ConfigSchema({"type": "object"}, create_model("Nothing", __config__=ConfigDict(extra="forbid")))
"""Of a plugin without configuration: the empty object alone."""


def read_schema(raw: bytes) -> ConfigSchema:
    """The schema of `[config]`. Raises SchemaRefused."""
    if len(raw) > SCHEMA_BYTES_MAX:
        raise SchemaRefused("", f"the schema has {len(raw)} bytes.", f"Keep it to {SCHEMA_BYTES_MAX}.")
    try:
        document = strict_json(raw)
    except PlatformError as error:
        raise SchemaRefused("", "the file is no strict JSON.", error.detail("en")) from error
    return schema_of(document)


def schema_of(document: Json) -> ConfigSchema:
    """The schema in a parsed document. Raises SchemaRefused."""
    if not isinstance(document, dict) or document.get("type") != "object":
        raise SchemaRefused("", "a configuration is an object.", 'Begin with "type": "object".')
    if document.get("$schema", DIALECT) != DIALECT:
        raise SchemaRefused("/$schema", "another dialect.", f"Write {DIALECT}, or leave it out.")
    reader = _Reader(document.get("$defs", {}))
    root = {name: value for name, value in document.items() if name not in _AT_THE_ROOT}
    model = reader.object(root, where="", depth=1, trail=())
    reader.refuse_unused()
    return ConfigSchema(document, model)


class _Reader:
    """Turns schemas into types, and says what it will not take."""

    def __init__(self, definitions: Json) -> None:
        if not isinstance(definitions, dict):
            raise SchemaRefused("/$defs", "is no object.", "Write an object of named schemas.")
        self._definitions: dict[str, Json] = definitions
        self._used: set[str] = set()

    def refuse_unused(self) -> None:
        """A definition that nothing refers to was never looked at."""
        unused = sorted(self._definitions.keys() - self._used)
        if unused:
            raise SchemaRefused(f"/$defs/{unused[0]}", "nothing refers to it.", "Refer to it, or take it out.")

    def type_of(self, schema: Json, *, where: str, depth: int, trail: tuple[str, ...]) -> Any:  # Any: a type
        """The type of a value."""
        if depth > DEPTH_MAX:
            raise SchemaRefused(where, f"nested deeper than {DEPTH_MAX}.", "Make it flatter.")
        if not isinstance(schema, dict):
            raise SchemaRefused(where, "is no schema.", "Write an object with a type.")
        if "$ref" in schema:
            return self._referred(schema, where=where, depth=depth, trail=trail)
        kind = schema.get("type")
        if not isinstance(kind, str) or kind not in _BY_TYPE:
            raise SchemaRefused(
                f"{where}/type", f"{kind!r} is not taken.", f"Use one of {', '.join(sorted(_BY_TYPE))}."
            )
        self._check_keywords(schema, _BY_TYPE[kind], where)
        readers: dict[str, Callable[..., Any]] = {
            "object": self.object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
        }
        if kind == "boolean":
            return bool
        return readers[kind](schema, where=where, depth=depth, trail=trail)

    def object(self, schema: dict[str, Json], *, where: str, depth: int, trail: tuple[str, ...]) -> type[BaseModel]:
        """A model of the object's properties; others are refused."""
        self._check_keywords(schema, _BY_TYPE["object"], where)
        if schema.get("additionalProperties", False) is not False:
            raise SchemaRefused(f"{where}/additionalProperties", "is not false.", "Name every property.")
        properties, required = schema.get("properties", {}), schema.get("required", [])
        if not isinstance(properties, dict) or not _is_list_of_texts(required) or not set(required) <= set(properties):
            raise SchemaRefused(where, "properties or required cannot be read.", "Require only what properties names.")
        fields: dict[str, Any] = {}  # Any: what create_model takes
        for name, inner in properties.items():
            place = f"{where}/properties/{name}"
            if _NAME.fullmatch(name) is None:
                raise SchemaRefused(place, "the name is not taken.", "Use lower-case letters, digits and _.")
            _check_title(inner, place)
            type_ = self.type_of(inner, where=place, depth=depth + 1, trail=trail)
            fields[name] = self._field(inner, type_, is_required=name in required, where=place)
        config = ConfigDict(extra="forbid", frozen=True)
        return create_model(f"Config{len(trail)}_{depth}", __config__=config, **fields)

    def _field(self, schema: dict[str, Json], type_: Any, *, is_required: bool, where: str) -> Any:
        if "default" not in schema:
            return (type_, ...) if is_required else (type_, None)  # an absent value is not checked, a null is
        if is_required:
            raise SchemaRefused(f"{where}/default", "a required property has no default.", "Take one of the two out.")
        probe = create_model("Probe", __config__=ConfigDict(extra="forbid"), value=(type_, ...))
        try:
            value = probe.model_validate_json(_ENCODER.encode({"value": schema["default"]}), strict=True)
        except ValidationError as error:
            raise SchemaRefused(f"{where}/default", "is not valid by its own schema.", "Correct it.") from error
        return (type_, value.value)  # type: ignore[attr-defined]  # the probe's one field

    def _referred(self, schema: dict[str, Json], *, where: str, depth: int, trail: tuple[str, ...]) -> Any:
        match = _REF.fullmatch(str(schema["$ref"]))
        if match is None or match[1] not in self._definitions:
            raise SchemaRefused(f"{where}/$ref", "leads nowhere.", "Refer to #/$defs/<name> of this file.")
        if match[1] in trail:
            raise SchemaRefused(f"{where}/$ref", "refers to itself.", "A configuration is finite: take the ring out.")
        self._check_keywords(schema, frozenset(), where)
        self._used.add(match[1])
        inner = self._definitions[match[1]]
        return self.type_of(inner, where=f"/$defs/{match[1]}", depth=depth, trail=(*trail, match[1]))

    def _array(self, schema: dict[str, Json], *, where: str, depth: int, trail: tuple[str, ...]) -> Any:
        if "items" not in schema:
            raise SchemaRefused(where, "an array says nothing of its items.", "Add items.")
        item = self.type_of(schema["items"], where=f"{where}/items", depth=depth + 1, trail=trail)
        field = Field(min_length=schema.get("minItems"), max_length=schema.get("maxItems"))
        if schema.get("uniqueItems", False) not in (True, False):
            raise SchemaRefused(f"{where}/uniqueItems", "is no boolean.", "Write true or false.")
        if schema.get("uniqueItems"):
            return Annotated[list[item], field, AfterValidator(_unique)]  # type: ignore[valid-type]  # made at run time
        return Annotated[list[item], field]  # type: ignore[valid-type]  # made at run time

    def _string(self, schema: dict[str, Json], *, where: str, depth: int, trail: tuple[str, ...]) -> Any:
        if "enum" in schema:
            values = schema["enum"]
            if not _is_list_of_texts(values) or not values or len(set(values)) != len(values):
                raise SchemaRefused(f"{where}/enum", "is no list of different strings.", "Name one or more.")
            return Literal[tuple(values)]
        pattern = schema.get("pattern")
        field = Field(min_length=schema.get("minLength"), max_length=schema.get("maxLength"), pattern=pattern)
        type_ = Annotated[str, field]
        if pattern is not None:
            try:
                create_model("Probe", value=(type_, ...))
            except Exception as error:  # pydantic-core's own SchemaError, which it does not document as public
                raise SchemaRefused(
                    f"{where}/pattern", "is no regular expression that is taken.", "Leave look-around out."
                ) from error
        return type_

    def _integer(self, schema: dict[str, Json], *, where: str, depth: int, trail: tuple[str, ...]) -> Any:
        low, high = schema.get("minimum", -_WHOLE_MAX), schema.get("maximum", _WHOLE_MAX)
        return Annotated[int, Field(ge=low, le=high)]

    def _check_keywords(self, schema: dict[str, Json], known: frozenset[str], where: str) -> None:
        unknown = sorted(schema.keys() - known - _EVERYWHERE)
        if unknown:
            raise SchemaRefused(
                f"{where}/{unknown[0]}", "the keyword is not taken here.", "See the subset in operate-plugins."
            )
        for name in _LIMITS:
            value = schema.get(name, 0)
            if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _WHOLE_MAX:
                raise SchemaRefused(f"{where}/{name}", "is no whole number.", "Write an integer.")


def _check_title(schema: Json, where: str) -> None:
    title = schema.get("title") if isinstance(schema, dict) else None
    words = list(title.values()) if isinstance(title, dict) and set(title) == {"zh", "en"} else []
    if not words or not all(isinstance(word, str) and 0 < len(word) <= 80 for word in words):
        raise SchemaRefused(f"{where}/title", "is missing in zh or en.", 'Write {"zh": "...", "en": "..."}.')


def _is_list_of_texts(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _unique(values: list[Json]) -> list[Json]:
    seen = [value.model_dump_json() if isinstance(value, BaseModel) else repr(value) for value in values]
    if len(set(seen)) != len(seen):
        raise ValueError("holds something twice")
    return values
