"""The signature doctor: every known mistake, made on purpose, is named; nothing else is."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from urllib.parse import quote_plus

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from sandbox.simulators.alipay_gateway.doctor import HYPOTHESES, diagnose, first_difference, shown
from sandbox.simulators.alipay_gateway.evidence import Evidence, KnownKey
from sandbox.simulators.alipay_gateway.signing import Pair, notice_text, request_text, sign
from tests.sandbox.alipay.keys import key

pytestmark = pytest.mark.unit
BIZ = '{"subject": "中文 a+b&c=%", "out_trade_no": "20", "total_amount": "0.10", "u": "a/b"}'
PAIRS: tuple[Pair, ...] = (
    (b"method", b"alipay.trade.query"),
    (b"app_id", b"2021000000000001"),
    (b"charset", b"utf-8"),
    (b"app_auth_token", b""),
    (b"sign_type", b"RSA2"),
    (b"notify_url", b"https://shop.example/n?\xc3\x97tamp=1"),
    (b"biz_content", BIZ.encode()),
)
NOTICE: tuple[Pair, ...] = (
    (b"trade_no", b"2026112222001400000000000001"),
    (b"app_id", b"2021000000000001"),
    (b"sign_type", b"RSA2"),
    (b"body", b"a+b & \xe4\xb8\xad"),
)
NODE = b'{"code":"10000","msg":"Success","out_trade_no":"\\u4e2d"}'
KEYS = (
    KnownKey("app", "app:present", key("app").public_key()),
    KnownKey("app_before", "app:before", key("app before").public_key()),
    KnownKey("platform", "platform:present", key("platform").public_key()),
    KnownKey("platform_before", "platform:before", key("platform before").public_key()),
    KnownKey("other_app", "2021000000000002", key("other app").public_key()),
)


def _request(text: bytes, *, by: RSAPrivateKey | None = None, sign_type: str = "RSA2") -> Evidence:
    """The request as it came, with the signature over what the client signed instead."""
    return Evidence(
        kind="request",
        pairs=PAIRS,
        signature=sign(by or key("app"), text, sign_type=sign_type),
        sign_type="RSA2",
        keys=KEYS,
        held=key("app").public_key(),
    )


def _notice(text: bytes, *, held: RSAPrivateKey | None = None, by: RSAPrivateKey | None = None) -> Evidence:
    return Evidence(
        kind="notice",
        pairs=NOTICE,
        signature=sign(by or key("platform"), text, sign_type="RSA2"),
        sign_type="RSA2",
        keys=KEYS,
        held=held.public_key() if held is not None else None,
    )


def _answer(body: bytes, *, held: RSAPrivateKey | None = None) -> Evidence:
    signature = sign(key("platform"), NODE, sign_type="RSA2")
    public = held.public_key() if held is not None else None
    return Evidence(kind="answer", body=body, signature=signature, sign_type="RSA2", keys=KEYS, held=public)


def _each(pairs: Sequence[Pair], change: Callable[[bytes], bytes]) -> list[Pair]:
    return [(name, change(value)) for name, value in pairs]


def _biz(content: str) -> bytes:
    return request_text([(name, content.encode() if name == b"biz_content" else value) for name, value in PAIRS])


RIGHT = request_text(PAIRS)
BROKEN_REQUESTS: list[tuple[str, Evidence]] = [
    ("other_key", _request(RIGHT, by=key("app before"))),
    ("own_key_for_platforms", replace(_request(RIGHT), held=key("platform").public_key())),
    ("other_sign_type", _request(RIGHT, sign_type="RSA")),
    ("sign_type_left_out", _request(request_text([pair for pair in PAIRS if pair[0] != b"sign_type"]))),
    ("blanks_left_out", _request(request_text(PAIRS, keeps_blanks=False))),
    ("url_encoded", _request(request_text(_each(PAIRS, lambda value: quote_plus(value).encode())))),
    ("charset", _request(RIGHT.decode().encode("gbk"))),
    ("reserialised", _request(_biz(json.dumps(json.loads(BIZ), separators=(",", ":"))))),
    ("reserialised", _request(_biz(json.dumps(json.loads(BIZ), ensure_ascii=False, sort_keys=True)))),
    ("html_unescaped", _request(request_text(_each(PAIRS, lambda value: html.escape(value.decode()).encode())))),
    ("html_unescaped", _request(RIGHT.replace("×".encode(), b"&times"))),
    ("other_app", _request(RIGHT, by=key("other app"))),
    ("signature_damaged", replace(_request(RIGHT), signature=_request(RIGHT).signature.replace("+", " ") + " ")),
    ("unsorted", _request(b"&".join(name + b"=" + value for name, value in PAIRS))),
    ("other_text", replace(_request(RIGHT + b"&more=1"), client_text=RIGHT + b"&more=1")),
    ("unknown", _request(RIGHT, by=key("nobody's"))),
    ("valid", _request(RIGHT)),
]
BROKEN_NOTICES: list[tuple[str, Evidence]] = [
    ("valid", _notice(notice_text(NOTICE))),
    ("valid", _notice(notice_text(NOTICE), held=key("platform"))),
    ("own_key_for_platforms", _notice(notice_text(NOTICE), held=key("app"))),
    ("other_key", _notice(notice_text(NOTICE), held=key("platform before"))),
    ("other_key", _notice(notice_text(NOTICE), held=key("nobody's"))),
    ("other_key", _notice(notice_text(NOTICE), by=key("platform before"))),
    ("other_app", _notice(notice_text(NOTICE), held=key("other app"))),
    ("sign_type_left_out", _notice(request_text(NOTICE))),
    ("url_encoded", replace(_notice(notice_text(NOTICE)), pairs=_each(NOTICE, lambda v: quote_plus(v).encode()))),
    ("unknown", _notice(notice_text(NOTICE[:2]))),
    ("valid", _answer(NODE)),
    ("own_key_for_platforms", _answer(NODE, held=key("app"))),
    ("reserialised", _answer(json.dumps(json.loads(NODE), ensure_ascii=False).encode())),
    ("whole_answer", _answer(b'{"alipay_trade_query_response":' + NODE + b',"sign":"x"}')),
]


@pytest.mark.parametrize(("code", "evidence"), BROKEN_REQUESTS + BROKEN_NOTICES)
def test_a_mistake_is_named(code: str, evidence: Evidence) -> None:
    found = diagnose(evidence)
    assert found.code == code
    assert found.is_valid == (code == "valid")
    assert found.length == len(evidence.text)
    for language in ("en", "zh"):
        said = found.say(language)
        assert found.cause.say(language) in said
        assert found.string_to_sign in said


def test_every_hypothesis_is_broken_on_purpose_here() -> None:
    codes = [hypothesis.code for hypothesis in HYPOTHESES]
    assert len(codes) == len(set(codes))
    assert set(codes) == {code for code, _ in BROKEN_REQUESTS + BROKEN_NOTICES} - {"valid", "unknown"}


def test_the_named_causes_stand_in_the_order_of_the_specification() -> None:
    assert [hypothesis.code for hypothesis in HYPOTHESES][:10] == [
        "other_key",
        "own_key_for_platforms",
        "other_sign_type",
        "sign_type_left_out",
        "blanks_left_out",
        "url_encoded",
        "charset",
        "reserialised",
        "html_unescaped",
        "other_app",
    ]


def test_the_first_byte_that_differs_is_shown() -> None:
    signed = request_text([(name, value.replace(b"0.10", b"0.1")) for name, value in PAIRS])
    found = diagnose(replace(_request(signed), client_text=signed))
    assert found.code == "other_text"
    assert found.difference is not None
    assert RIGHT[found.difference.at : found.difference.at + 1] == b"0"
    assert RIGHT[: found.difference.at] == signed[: found.difference.at]
    assert found.difference.expected == 'mount": "0.1[0]", "u": "a/'
    assert found.difference.found == 'mount": "0.1["], "u": "a/b'


def test_strings_that_end_early_differ_at_their_end() -> None:
    assert first_difference(b"abc", b"abc") is None
    ended = first_difference(b"abcd", b"abc")
    assert ended is not None
    assert (ended.at, ended.expected, ended.found) == (3, "abc[d]", "abc[end]")


def test_bytes_that_cannot_be_read_are_spelt_out() -> None:
    assert shown("中\n".encode() + b"\xd6\x00") == "中\\n\\xd6\\x00"


def test_a_diagnosis_shows_no_signature_and_no_key() -> None:
    evidence = _request(RIGHT, by=key("other app"))
    said = repr(diagnose(evidence))
    assert evidence.signature not in said
    assert base64.b64encode(b"MII").decode() not in said
    assert diagnose(evidence).key_name == "2021000000000002"
