"""JSON as the platform accepts it: one meaning for every reader, or a refusal.

Refused with `kernel.json_invalid` (400): what is no JSON (RFC 8259), bad UTF-8, a byte order mark, a key twice in one
object, NaN and Infinity, NUL and lone surrogates in strings and keys, whole numbers beyond 2^53 either way and other
numbers beyond a double, and nesting deeper than a bound.

How it is fast: msgspec parses (RFC 8259 strictly, UTF-8 and surrogates included) and drops a doubled key in silence,
so the keys that came out are counted against the places in the bytes where a key may stand. Only when these differ,
or a cheap look smells a rarer fault, does a linear pass of our own over the tokens decide; the same pass finds the
place of a fault for the message.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import msgspec

from platform_core.kernel.errors import PlatformError, declare
from platform_core.kernel.i18n import Text

DEPTH_MAX: Final = 16
INTEGER_MAX: Final = 2**53
"""Beyond it JavaScript and other readers of doubles lose digits (RFC 8259 section 6)."""

JSON_INVALID: Final = declare(
    "kernel.json_invalid",
    status=400,
    title=Text(en="The body is not acceptable JSON", zh="请求体不是可接受的 JSON"),
    detail=Text(
        en="The body cannot be read at character {position}: {reason}.",
        zh="请求体在第 {position} 个字符处无法读取：{reason}。",
    ),
    hint=Text(
        en="Send one JSON value in UTF-8 with each key once, as a JSON library writes it.",
        zh="请发送由 JSON 库生成的 UTF-8 JSON，且每个键只出现一次。",
    ),
)

BAD_UTF8: Final = Text(en="the bytes are not UTF-8", zh="字节不是 UTF-8 编码")
BYTE_ORDER_MARK: Final = Text(en="there is a byte order mark", zh="存在字节顺序标记（BOM）")
EMPTY: Final = Text(en="the body is empty", zh="请求体为空")
SYNTAX: Final = Text(en="it is not JSON", zh="不符合 JSON 语法")
DUPLICATE_KEY: Final = Text(en="this object names a key twice", zh="同一对象中键重复")
NOT_FINITE: Final = Text(en="NaN and Infinity are not JSON", zh="JSON 不允许 NaN 与 Infinity")
NUL: Final = Text(en="a string holds the character NUL", zh="字符串中含有 NUL 字符")
LONE_SURROGATE: Final = Text(en="a string holds half of a surrogate pair", zh="字符串中含有不成对的代理字符")
TOO_DEEP: Final = Text(en="it is nested too deeply", zh="嵌套层级过深")
TOO_LARGE: Final = Text(en="the number is too large to be exact everywhere", zh="数字过大，无法在各端精确表示")

_KEY_PLACE: Final = re.compile(rb'"[ \t\r\n]*:')
_BLANK_COLONS: Final = (b" :", b"\t:", b"\r:", b"\n:")  # without any of these a key's colon follows its quote at once
_TOKEN: Final = re.compile(
    r'[ \t\n\r]*+(?:(?P<string>"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+")|(?P<mark>[{}\[\]:,])'
    r"|(?P<number>-?[0-9]++(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+)|(?P<word>true|false|null))",
    re.ASCII,
)
_BLANK: Final = " \t\n\r"
_ESCAPE: Final = re.compile(r"\\(?:u([0-9a-fA-F]{4})|.)", re.ASCII)


def strict_json(raw: bytes, *, depth_max: int = DEPTH_MAX) -> object:
    """Parse a body. Raises `kernel.json_invalid` with position (characters from 1) and reason; echoes nothing of the
    body.

    Objects are dicts, whole numbers ints, and every number written with a point or an exponent is a `Decimal`: exact,
    and no int to a strict field. At most `depth_max` objects and lists within one another.
    """
    try:
        document = _DECODER.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, OverflowError):
        raise _explain(raw, depth_max) from None
    if not _is_plain(document, raw, depth_max) or b"\\u0000" in raw:
        _refuse_first_fault(raw.decode(), depth_max)
    return document


def _number(text: str) -> Decimal:
    if not _is_finite(text):
        raise OverflowError
    return Decimal(text)


_DECODER: Final = msgspec.json.Decoder(float_hook=_number)


def _is_plain(document: object, raw: bytes, depth_max: int) -> bool:
    """Whether nothing can be wrong with what was parsed. False asks for the careful pass; it does not mean a fault.

    Every key in the bytes ends in a quote and a colon, so at least as many such places exist as keys were written;
    when no more than the keys that came out, none was written twice.
    """
    keys = 0
    level: list[Any] = [document]  # Any: what JSON may be
    for _ in range(depth_max):
        inner: list[Any] = []
        for value in level:
            kind = type(value)
            if kind is str:
                continue
            if kind is dict:
                keys += len(value)
                inner.extend(value.values())
            elif kind is list:
                inner.extend(value)
            elif kind is int and not -INTEGER_MAX <= value <= INTEGER_MAX:
                return False
        if not inner:
            return _key_places(raw) == keys
        level = inner
    return False


def _key_places(raw: bytes) -> int:
    if any(blank_colon in raw for blank_colon in _BLANK_COLONS):
        return len(_KEY_PLACE.findall(raw))
    return raw.count(b'":')


def _explain(raw: bytes, depth_max: int) -> PlatformError:
    """The refusal of bytes that did not parse."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        return _refusal(BAD_UTF8, len(raw[: error.start].decode()))
    if text.startswith("\ufeff"):
        return _refusal(BYTE_ORDER_MARK, 0)
    if not text.strip(_BLANK):
        return _refusal(EMPTY, 0)
    try:
        return _refusal(SYNTAX, _refuse_first_fault(text, depth_max))
    except PlatformError as refusal:
        return refusal


def _refusal(reason: Text, position: int) -> PlatformError:
    return JSON_INVALID.error({"position": position + 1, "reason": reason})


def _is_finite(number: str) -> bool:
    return abs(float(number)) != float("inf")


def _refuse_first_fault(text: str, depth_max: int) -> int:
    """Walk the tokens and raise for the first fault that the grammar itself does not exclude.

    Without one, return the position behind the last token: where the text is no JSON, if it is none.
    """
    keys: list[set[str] | None] = []
    position = 0
    while (token := _TOKEN.match(text, position)) is not None:
        kind = token.lastgroup or ""
        start = token.start(kind)
        position = token.end()
        if kind == "string":
            _check_string(token[kind], start)
            if keys and keys[-1] is not None and _is_key(text, position):
                _check_key(keys[-1], token[kind], start)
        elif kind == "number":
            _check_number(token[kind], start)
        elif kind == "mark":
            _follow(keys, token[kind])
            if len(keys) > depth_max:
                raise _refusal(TOO_DEEP, start)
    rest = text[position:].lstrip(_BLANK)
    if rest.startswith(("NaN", "Infinity", "-Infinity")):
        raise _refusal(NOT_FINITE, len(text) - len(rest))
    return len(text) - len(rest)


def _follow(keys: list[set[str] | None], mark: str) -> None:
    """Keep the stack of open containers: a set of keys for an object, None for a list."""
    if mark in "{[":
        keys.append(set() if mark == "{" else None)
    elif mark in "}]" and keys:
        keys.pop()


def _is_key(text: str, position: int) -> bool:
    return text[position : position + 256].lstrip(_BLANK).startswith(":")


def _check_key(seen: set[str], token: str, start: int) -> None:
    try:
        key = msgspec.json.decode(token, type=str)
    except msgspec.DecodeError:
        raise _refusal(SYNTAX, start) from None
    if key in seen:
        raise _refusal(DUPLICATE_KEY, start)
    seen.add(key)


def _check_number(token: str, start: int) -> None:
    if token.lstrip("-").isdigit():
        if len(token) > 17 or abs(int(token)) > INTEGER_MAX:
            raise _refusal(TOO_LARGE, start)
    elif not _is_finite(token):
        raise _refusal(TOO_LARGE, start)


def _check_string(token: str, start: int) -> None:
    """

    Refuse NUL and halves of surrogate pairs among a string's escapes; raw ones the decoder and the scanner
    refuse.
    """
    if "\\u" not in token:
        return
    high_ends = -1
    for escape in _ESCAPE.finditer(token):
        unit = int(escape[1], 16) if escape[1] is not None else -1
        if unit == 0:
            raise _refusal(NUL, start + escape.start())
        is_low = 0xDC00 <= unit <= 0xDFFF
        if high_ends >= 0 and not (is_low and high_ends == escape.start()):
            raise _refusal(LONE_SURROGATE, start + high_ends - 6)
        if is_low and high_ends < 0:
            raise _refusal(LONE_SURROGATE, start + escape.start())
        high_ends = escape.end() if 0xD800 <= unit <= 0xDBFF else -1
    if high_ends >= 0:
        raise _refusal(LONE_SURROGATE, start + high_ends - 6)
