"""What pydantic refuses, in our codes and in both languages, without a word of the input."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from platform_core.kernel.errors import ErrorCode, Fault, declaration_of, declare
from platform_core.kernel.i18n import Text

FAULTS_MAX: Final = 100
"""How many faults one answer names."""
_POINTER_PART_MAX: Final = 64
_QUOTED: Final = re.compile(r"'([^']*)'")


def _field(reason: str, *, title: Text, detail: Text) -> ErrorCode:
    return declare(f"kernel.{reason}", status=422, title=title, detail=detail)


FIELD_MISSING: Final = _field(
    "field_missing",
    title=Text(en="Field missing", zh="缺少字段"),
    detail=Text(en="This field is required.", zh="该字段为必填项。"),
)
FIELD_UNKNOWN: Final = _field(
    "field_unknown",
    title=Text(en="Field unknown", zh="未知字段"),
    detail=Text(en="This field is not known here.", zh="此处不支持该字段。"),
)
FIELD_TYPE: Final = _field(
    "field_type",
    title=Text(en="Wrong type", zh="类型错误"),
    detail=Text(en="This must be {expected}.", zh="此处应为{expected}。"),
)
FIELD_TOO_SMALL: Final = _field(
    "field_too_small",
    title=Text(en="Number too small", zh="数值过小"),
    detail=Text(en="The number must be {bound}.", zh="数值应{bound}。"),
)
FIELD_TOO_LARGE: Final = _field(
    "field_too_large",
    title=Text(en="Number too large", zh="数值过大"),
    detail=Text(en="The number must be {bound}.", zh="数值应{bound}。"),
)
FIELD_TOO_SHORT: Final = _field(
    "field_too_short",
    title=Text(en="Too short", zh="长度不足"),
    detail=Text(en="At least {limit} {unit} are required.", zh="至少需要 {limit} {unit}。"),
)
FIELD_TOO_LONG: Final = _field(
    "field_too_long",
    title=Text(en="Too long", zh="长度超限"),
    detail=Text(en="At most {limit} {unit} are accepted.", zh="至多允许 {limit} {unit}。"),
)
FIELD_PATTERN: Final = _field(
    "field_pattern",
    title=Text(en="Wrong form", zh="格式错误"),
    detail=Text(en="The text must match {pattern}.", zh="内容应符合 {pattern}。"),
)
FIELD_CHOICE: Final = _field(
    "field_choice",
    title=Text(en="Not one of the choices", zh="不在可选值之内"),
    detail=Text(en="This must be one of: {choices}.", zh="应为以下值之一：{choices}。"),
)
FIELD_TIME: Final = _field(
    "field_time",
    title=Text(en="Not a date or time", zh="日期时间格式错误"),
    detail=Text(
        en="This must be a date as 2026-11-22, or a moment with its zone as 2026-11-22T08:00:00Z.",
        zh="应为 2026-11-22 形式的日期，或 2026-11-22T08:00:00Z 形式的带时区时刻。",
    ),
)
FIELD_INVALID: Final = _field(
    "field_invalid",
    title=Text(en="Value not accepted", zh="取值无效"),
    detail=Text(en="The value is not accepted here.", zh="此处不接受该值。"),
)

_WHOLE: Final = Text(en="a whole number", zh="整数")
_NUMBER: Final = Text(en="a number", zh="数字")
_STRING: Final = Text(en="a text", zh="文本")
_TRUTH: Final = Text(en="true or false", zh="true 或 false")
_LIST: Final = Text(en="a list", zh="数组")
_OBJECT: Final = Text(en="an object", zh="对象")
_CHARACTERS: Final = Text(en="character(s)", zh="个字符")
_ITEMS: Final = Text(en="item(s)", zh="项")

_EXPECTED: Final[Mapping[str, Text]] = {
    **dict.fromkeys(("int_type", "int_from_float", "int_parsing", "int_parsing_size"), _WHOLE),
    **dict.fromkeys(("float_type", "float_parsing", "decimal_type", "decimal_parsing", "finite_number"), _NUMBER),
    **dict.fromkeys(("string_type", "string_sub_type", "string_unicode", "bytes_type", "uuid_type"), _STRING),
    **dict.fromkeys(("bool_type", "bool_parsing"), _TRUTH),
    **dict.fromkeys(("list_type", "tuple_type", "set_type", "frozen_set_type", "iterable_type"), _LIST),
    **dict.fromkeys(("dict_type", "mapping_type", "model_type", "model_attributes_type", "dataclass_type"), _OBJECT),
    "none_required": Text(en="null", zh="null"),
}
_SIMPLE: Final[Mapping[str, ErrorCode]] = {
    "missing": FIELD_MISSING,
    "extra_forbidden": FIELD_UNKNOWN,
    "unexpected_keyword_argument": FIELD_UNKNOWN,
}
_TOO_SHORT: Final = {"string_too_short": _CHARACTERS, "bytes_too_short": _CHARACTERS, "too_short": _ITEMS}
_TOO_LONG: Final = {"string_too_long": _CHARACTERS, "bytes_too_long": _CHARACTERS, "too_long": _ITEMS}
_BOUNDS: Final[Mapping[str, tuple[ErrorCode, str, str, str]]] = {
    "greater_than": (FIELD_TOO_SMALL, "gt", "above", "大于"),
    "greater_than_equal": (FIELD_TOO_SMALL, "ge", "at least", "不小于"),
    "less_than": (FIELD_TOO_LARGE, "lt", "below", "小于"),
    "less_than_equal": (FIELD_TOO_LARGE, "le", "at most", "不大于"),
}
_CHOICES: Final[Mapping[str, str]] = {
    "literal_error": "expected",
    "enum": "expected",
    "union_tag_invalid": "expected_tags",
}
_MISSING_DOCUMENT: Final = object()


def faults_of(errors: Sequence[Any], document: object = _MISSING_DOCUMENT) -> list[Fault]:
    """Pydantic's errors (`ValidationError.errors()`, FastAPI's too) as faults, in order, at most `FAULTS_MAX`.

    With the parsed body at hand, the pointer leaves out the names that pydantic puts in for branches of a union.
    """
    return [_fault(error, document) for error in errors[:FAULTS_MAX]]  # Any: the two libraries' dicts differ in type


def _fault(error: Mapping[str, Any], document: object) -> Fault:
    kind: str = error["type"]
    context: Mapping[str, Any] = error.get("ctx") or {}
    declared, values = _words(kind, context)
    location = list(error["loc"])
    if kind.startswith("union_tag_") and "discriminator" in context:
        location.append(str(context["discriminator"]).strip("'"))
    is_absent = kind in ("missing", "union_tag_not_found")
    return declared.fault(_pointer(location, document, is_absent=is_absent), values)


def _words(kind: str, context: Mapping[str, Any]) -> tuple[ErrorCode, dict[str, object]]:
    """Which code and values say what one of pydantic's error types means."""
    if kind in _SIMPLE:
        return _SIMPLE[kind], {}
    if kind in _EXPECTED:
        return FIELD_TYPE, {"expected": _EXPECTED[kind]}
    if kind in _BOUNDS:
        declared, key, english, chinese = _BOUNDS[kind]
        return declared, {"bound": Text(en=f"{english} {context[key]}", zh=f"{chinese} {context[key]}")}
    if kind in _TOO_SHORT:
        return FIELD_TOO_SHORT, {"limit": context["min_length"], "unit": _TOO_SHORT[kind]}
    if kind in _TOO_LONG:
        return FIELD_TOO_LONG, {"limit": context["max_length"], "unit": _TOO_LONG[kind]}
    if kind in _CHOICES:
        return FIELD_CHOICE, {"choices": ", ".join(_QUOTED.findall(str(context[_CHOICES[kind]])))}
    if kind == "string_pattern_mismatch":
        return FIELD_PATTERN, {"pattern": context["pattern"]}
    if kind == "union_tag_not_found":
        return FIELD_MISSING, {}
    if kind.startswith(("datetime_", "date_", "time_", "timezone_")):
        return FIELD_TIME, {}
    declared = _declared_as(kind)
    return declared, {name: context[name] for name in declared.places if name in context}


def _declared_as(kind: str) -> ErrorCode:
    """What a validator of our own declared (see `kernel.fields.field_error`), else `kernel.field_invalid`."""
    return declaration_of(kind) or FIELD_INVALID


def _pointer(location: Sequence[str | int], document: object, *, is_absent: bool) -> str:
    """Where a fault lies, as a JSON Pointer (RFC 6901)."""
    parts = list(location)
    if document is _MISSING_DOCUMENT:
        parts = parts[1:] if parts[:1] == ["body"] else parts
    else:
        parts = _parts_in(document, parts, is_absent=is_absent)
    return "".join(f"/{_escaped(str(part))}" for part in parts)


def _parts_in(document: object, location: Sequence[str | int], *, is_absent: bool) -> list[str | int]:
    """The parts of a location that lead through the document, and the last one also when it is what is missing."""
    parts: list[str | int] = []
    here: Any = document  # whatever JSON the caller sent
    for index, part in enumerate(location):
        is_there = (isinstance(here, dict) and part in here) or (
            isinstance(here, list) and isinstance(part, int) and part < len(here)
        )
        if is_there:
            here = here[part]
        if is_there or (is_absent and index == len(location) - 1):
            parts.append(part)
    return parts


def _escaped(part: str) -> str:
    return part[:_POINTER_PART_MAX].replace("~", "~0").replace("/", "~1")
