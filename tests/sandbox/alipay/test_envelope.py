"""Answers: one shape that both clients' scanners read, whatever is in them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sandbox.simulators.alipay_gateway.envelope import answered, body_bytes, node_bytes
from tests.sandbox.alipay.scanners import asp_finds, pas_finds

pytestmark = pytest.mark.unit
NAMES = ("alipay_trade_precreate_response", "error_response", "alipay_trade_fastpay_refund_query_response")
HOSTILE = (
    "plain",
    "中文商品",
    "🍜 emoji",
    "}{",
    "{{{",
    "}}}",
    'a},"sign":"zzz',
    '"q" \\ back',
    'alipay_trade_precreate_response":{',
    "newline\nand\ttab",
    "100% a+b&c=d",
    "</script>",
    "line\u2028separator",
    "\\u007b",
    "x" * 10_000,
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60) | st.sampled_from(HOSTILE)
values = st.recursive(
    texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts.filter(bool), inner, max_size=3),
    max_leaves=8,
)


def sign(content: bytes) -> str:
    return f"signed/{len(content)}=="


def without_blanks(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_blanks(inner) for key, inner in value.items() if inner not in (None, "", [])}
    return [without_blanks(inner) for inner in value] if isinstance(value, list) else value


@pytest.mark.property
@settings(max_examples=200)
@given(
    fields=st.dictionaries(texts.filter(bool), values, max_size=5), name=st.sampled_from(NAMES), is_cert=st.booleans()
)
@example(fields={"subject": HOSTILE[6], "body": HOSTILE[8]}, name=NAMES[0], is_cert=True)
def test_both_clients_find_exactly_what_was_signed(fields: dict[str, Any], name: str, is_cert: bool) -> None:
    node = answered() | fields
    content = node_bytes(node)
    body = body_bytes(name, node, sign=sign, certificate_sn="0a1b" if is_cert else "").decode("ascii")
    assert pas_finds(body, name) == (content.decode(), sign(content))
    assert asp_finds(body) == (content.decode(), sign(content))
    document = json.loads(body)
    assert list(document) == [name, "sign", "alipay_cert_sn"][: 3 if is_cert else 2]
    assert document[name] == without_blanks(node)


def test_the_recipe_byte_for_byte() -> None:
    node = answered("40004", sub_code="ACQ.TRADE_NOT_EXIST", sub_msg="交易{不}存在", trade_no=None, body="", list=[])
    assert body_bytes("alipay_trade_query_response", node, sign=lambda _: "c2ln", certificate_sn="") == (
        b'{"alipay_trade_query_response":{"code":"40004","msg":"Business Failed","sub_code":"ACQ.TRADE_NOT_EXIST",'
        b'"sub_msg":"\\u4ea4\\u6613\\u007b\\u4e0d\\u007d\\u5b58\\u5728"},"sign":"c2ln"}'
    )


@pytest.mark.parametrize("value", [1, 1.5, True])
def test_numbers_are_no_values_of_the_protocol(value: object) -> None:
    with pytest.raises(TypeError, match="strings, lists and objects"):
        node_bytes(answered(total_amount=value))


def test_a_scanner_that_meets_bare_braces_would_be_led_astray() -> None:
    """The oracles bite: without the escaping of braces they find something else than was signed."""
    raw = json.dumps({NAMES[0]: {"code": "10000", "subject": "}}}"}, "sign": "c2ln"}, separators=(",", ":"))
    found, _ = pas_finds(raw, NAMES[0])
    assert found != '{"code":"10000","subject":"}}}"}'
