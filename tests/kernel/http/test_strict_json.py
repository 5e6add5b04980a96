"""Every refusal of strict JSON, with its place and in both languages; else agreement with the standard parser."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.http import strict_json as module
from platform_core.kernel.http.strict_json import INTEGER_MAX, JSON_INVALID, strict_json
from platform_core.kernel.i18n import Text

REFUSED = [
    pytest.param(b"", module.EMPTY, 1, id="empty"),
    pytest.param(b" \n", module.EMPTY, 1, id="blank"),
    pytest.param(b'{"a":1', module.SYNTAX, 7, id="cut-off"),
    pytest.param(b'{"a":1}x', module.SYNTAX, 8, id="rubbish-behind"),
    pytest.param(b"{'a':1}", module.SYNTAX, 2, id="single-quotes"),
    pytest.param(b'{"a":"\n"}', module.SYNTAX, 6, id="raw-control-character"),
    pytest.param(b"\xc2\xa0{}", module.SYNTAX, 1, id="other-blank"),
    pytest.param(b'{"a":"\xff"}', module.BAD_UTF8, 7, id="bad-utf8"),
    pytest.param('["é'.encode() + b'\xed\xa0\x80"]', module.BAD_UTF8, 4, id="encoded-surrogate"),
    pytest.param(b"\xef\xbb\xbf{}", module.BYTE_ORDER_MARK, 1, id="bom"),
    pytest.param(b'{"a":1,"a":2}', module.DUPLICATE_KEY, 8, id="duplicate"),
    pytest.param(b'{"a":1,"b":[{"c":1 , "c" :2}]}', module.DUPLICATE_KEY, 22, id="duplicate-inside"),
    pytest.param(b'{"\\u0061":1,"a":2}', module.DUPLICATE_KEY, 13, id="duplicate-by-escape"),
    pytest.param(b'{"a":1,"a" :2,"x\\":":3}', module.DUPLICATE_KEY, 8, id="duplicate-that-hides-behind-a-quote"),
    pytest.param(b'{"a":NaN}', module.NOT_FINITE, 6, id="nan"),
    pytest.param(b"[Infinity]", module.NOT_FINITE, 2, id="infinity"),
    pytest.param(b"[1,-Infinity]", module.NOT_FINITE, 4, id="minus-infinity"),
    pytest.param(b'{"a":"x\\u0000"}', module.NUL, 8, id="nul"),
    pytest.param(b'{"a\\u0000":1}', module.NUL, 4, id="nul-in-key"),
    pytest.param(b'["\\ud800"]', module.LONE_SURROGATE, 3, id="high-alone"),
    pytest.param(b'["\\ude00\\ud83d"]', module.LONE_SURROGATE, 3, id="wrong-way-round"),
    pytest.param(b'["\\ud800\\u0041"]', module.LONE_SURROGATE, 3, id="high-and-letter"),
    pytest.param(b'{"\\uDC00":1}', module.LONE_SURROGATE, 3, id="low-in-key"),
    pytest.param(b"[9007199254740993]", module.TOO_LARGE, 2, id="above-2-53"),
    pytest.param(b'{"a":-9007199254740993}', module.TOO_LARGE, 6, id="below-minus-2-53"),
    pytest.param(b"1" * 5000, module.TOO_LARGE, 1, id="5000-digits"),
    pytest.param(b"[0,1e999]", module.TOO_LARGE, 4, id="beyond-a-double"),
    pytest.param(b"[" * 17 + b"]" * 17, module.TOO_DEEP, 17, id="17-deep"),
    pytest.param(b'{"a":' * 17 + b"1" + b"}" * 17, module.TOO_DEEP, 81, id="17-objects-deep"),
    pytest.param(b"[" * 100_000, module.TOO_DEEP, 17, id="100000-deep"),
]


@pytest.mark.unit
@pytest.mark.parametrize(("raw", "reason", "position"), REFUSED)
def test_what_has_no_single_meaning_is_refused_with_its_place(raw: bytes, reason: Text, position: int) -> None:
    with pytest.raises(PlatformError) as caught:
        strict_json(raw)
    error = caught.value
    assert (error.code, error.status) == ("kernel.json_invalid", 400)
    assert error.detail("en") == f"The body cannot be read at character {position}: {reason.en}."
    assert error.detail("zh") == f"请求体在第 {position} 个字符处无法读取：{reason.zh}。"
    assert error.declared is JSON_INVALID


@pytest.mark.unit
@pytest.mark.parametrize(
    ("raw", "document"),
    [
        (b'{"a":"\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        (b'["\\\\u0000"]', ["\\u0000"]),
        (b'{"a":"b\\":","c":1}', {"a": 'b":', "c": 1}),
        (b"[9007199254740992,-9007199254740992]", [INTEGER_MAX, -INTEGER_MAX]),
        (b"[" * 16 + b"]" * 16, json.loads("[" * 16 + "]" * 16)),
        (b"[" * 16 + b"1" + b"]" * 16, json.loads("[" * 16 + "1" + "]" * 16)),
        ('\t["奶茶", true, null]\r\n'.encode(), ["奶茶", True, None]),
    ],
)
def test_what_has_one_meaning_is_read(raw: bytes, document: object) -> None:
    assert strict_json(raw) == document


@pytest.mark.unit
@pytest.mark.parametrize("written", ["1.0", "1e2", "120.10", "-0.5"])
def test_a_number_with_a_point_is_exact_and_no_int(written: str) -> None:
    read = strict_json(f"[{written}]".encode())
    assert read == [Decimal(written)]
    assert [type(value) for value in read] == [Decimal]  # type: ignore[attr-defined]  # it is a list, as just compared


_letters = st.characters(codec="utf-8", exclude_characters="\x00")
_plain = st.recursive(
    st.none() | st.booleans() | st.integers(-INTEGER_MAX, INTEGER_MAX) | st.text(_letters),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(_letters), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.property
@given(document=_plain, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_what_a_json_library_writes_is_read_back(document: object, is_ascii: bool, indent: int | None) -> None:
    raw = json.dumps([document], ensure_ascii=is_ascii, indent=indent).encode()
    assert strict_json(raw, depth_max=100) == [document]


@pytest.mark.property
@given(raw=st.binary(max_size=60) | st.text(alphabet='{}[]",:\\u0d8ac1e9.-NaI ntrufls', max_size=40).map(str.encode))
def test_whatever_comes_is_read_as_the_standard_parser_reads_it_or_refused(raw: bytes) -> None:
    try:
        document = strict_json(raw)
    except PlatformError as error:
        refusal: PlatformError | None = error
    else:
        refusal = None
        assert document == json.loads(raw, parse_float=Decimal)
    assert refusal is None or refusal.code == "kernel.json_invalid"
