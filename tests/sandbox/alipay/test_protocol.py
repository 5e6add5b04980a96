"""Requests: parsed on bytes, checked in the protocol's order. Every refusal of section 2's table by its code."""

from __future__ import annotations

from decimal import Decimal
from urllib.parse import quote_from_bytes, quote_plus, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.simulators.alipay_gateway import protocol
from sandbox.simulators.alipay_gateway.protocol import GatewayError, Parameters

pytestmark = pytest.mark.unit
GOOD = {
    "app_id": "2021000000000001",
    "method": "alipay.trade.query",
    "charset": "utf-8",
    "sign_type": "RSA2",
    "sign": "c2ln",
    "timestamp": "2026-11-22 08:00:00",
    "version": "1.0",
}


def parameters(**changed: str | None) -> Parameters:
    given_ = {name: value for name, value in (GOOD | changed).items() if value is not None}
    read, refusal = protocol.read_parameters(urlencode(given_).encode(), b"")
    assert refusal is None
    return read


def check_all(read: Parameters) -> None:
    """The pure checks in the order in which the gateway makes them."""
    protocol.check_method_given(read)
    protocol.check_app_given(read)
    protocol.check_signing_given(read)
    protocol.check_form(read)


@pytest.mark.property
@given(
    pairs=st.dictionaries(st.binary(min_size=1, max_size=12), st.binary(max_size=40), max_size=8),
    split=st.integers(0, 8),
    is_plus=st.booleans(),
)
def test_bytes_come_back_as_they_were_sent(pairs: dict[bytes, bytes], split: int, is_plus: bool) -> None:
    def encoded(raw: bytes) -> str:
        text = quote_from_bytes(raw, safe="")
        return text.replace("%20", "+") if is_plus else text

    pieces = [f"{encoded(name)}={encoded(value)}" for name, value in pairs.items()]
    read, refusal = protocol.read_parameters("&".join(pieces[:split]).encode(), "&".join(pieces[split:]).encode())
    assert refusal is None
    assert read.values == pairs


def test_blank_values_are_kept_and_stray_ampersands_are_none() -> None:
    read, refusal = protocol.read_parameters(b"&a=&b&&c=%", b"d=%zz+%2B")
    assert refusal is None
    assert read.values == {b"a": b"", b"b": b"", b"c": b"%", b"d": b"%zz +"}


@pytest.mark.parametrize(("query", "body"), [("a=1&a=1", ""), ("a=1", "a=2"), ("", "%61=1&a=2")])
def test_a_name_given_twice_is_refused_wherever_it_stands(query: str, body: str) -> None:
    read, refusal = protocol.read_parameters(f"method=alipay.trade.query&{query}".encode(), body.encode())
    assert refusal is not None
    assert (refusal.code, refusal.sub_code) == ("40002", "isv.invalid-parameter")
    assert read.node_name == "alipay_trade_query_response"


@pytest.mark.parametrize(
    ("changed", "code", "sub_code", "is_unnamed"),
    [
        ({"method": None, "app_id": None}, "40001", "isv.missing-method", True),
        ({"app_id": None, "sign": None}, "40001", "isv.missing-app-id", False),
        ({"app_id": "20", "sign": None}, "40002", "isv.invalid-app-id", False),
        ({"app_id": "２０２１００００００００００００"}, "40002", "isv.invalid-app-id", False),
        ({"sign_type": None, "sign": None}, "40001", "isv.missing-signature-type", False),
        ({"sign_type": "MD5", "sign": None}, "40001", "isv.missing-signature", False),
        ({"sign_type": "rsa2"}, "40002", "isv.invalid-signature-type", False),
        ({"timestamp": None, "version": None}, "40001", "isv.missing-timestamp", False),
        ({"timestamp": "soon", "version": None}, "40001", "isv.missing-version", False),
        ({"timestamp": "2026-02-30 08:00:00"}, "40002", "isv.invalid-timestamp", False),
        ({"timestamp": "2026-11-22T08:00:00"}, "40002", "isv.invalid-timestamp", False),
        ({"timestamp": "1999-01-01 00:00:00", "version": "2.0"}, "40002", "isv.invalid-parameter", False),
        ({"charset": None}, "40002", "isv.invalid-charset", False),
        ({"charset": "latin-1"}, "40002", "isv.invalid-charset", False),
        ({"format": "xml"}, "40002", "isv.invalid-format", False),
        ({"encrypt_type": "AES"}, "40002", "isv.invalid-encrypt-type", False),
    ],
)
def test_the_first_failing_check_answers(
    changed: dict[str, str | None], code: str, sub_code: str, is_unnamed: bool
) -> None:
    with pytest.raises(GatewayError) as refused:
        check_all(parameters(**changed))
    error = refused.value
    assert (error.code, error.sub_code, error.is_unnamed) == (code, sub_code, is_unnamed)
    assert error.node()["msg"] == protocol.MESSAGES[code]


@pytest.mark.parametrize("changed", [{}, {"format": "JSON"}, {"charset": "GBK"}, {"charset": "gb2312"}, {"format": ""}])
def test_what_both_clients_send_passes(changed: dict[str, str | None]) -> None:
    check_all(parameters(**changed))


@pytest.mark.parametrize(
    ("method", "node"),
    [
        ("alipay.trade.pay", "alipay_trade_pay_response"),
        ("alipay.trade.pay\n", "error_response"),
        ("alipay.v2.pay", "error_response"),
        ("alipay", "error_response"),
        ("支付", "error_response"),
    ],
)
def test_the_node_is_named_after_what_can_be_a_method(method: str, node: str) -> None:
    assert parameters(method=method).node_name == node


def test_amounts_written_as_numbers_stay_exact_and_null_and_blank_are_absent() -> None:
    content = '{"total_amount":0.10,"subject":null,"body":"","inner":{"a":null,"b":[null,""]},"n":88}'
    read = protocol.read_business(parameters(biz_content=content), is_flat=False)
    assert read == {"total_amount": Decimal("0.10"), "inner": {"b": [""]}, "n": 88}


def test_business_is_read_in_the_requests_charset() -> None:
    raw = '{"subject":"中文商品"}'.encode("gbk")
    query = urlencode(GOOD | {"charset": "GBK"}) + "&biz_content=" + quote_plus(raw)
    read, _ = protocol.read_parameters(query.encode(), b"")
    assert protocol.read_business(read, is_flat=False) == {"subject": "中文商品"}


@pytest.mark.parametrize(
    "content",
    ['{"a":1,"a":1}', "[" * 11 + "]" * 11, '{"a":NaN}', "[]", "nonsense", '{"a":"\\ud800"}', '{"a":"\\u0000"}'],
)
def test_business_that_is_not_one_json_object_is_refused(content: str) -> None:
    with pytest.raises(GatewayError) as refused:
        protocol.read_business(parameters(biz_content=content), is_flat=False)
    assert (refused.value.code, refused.value.sub_code) == ("40002", "isv.illegal-json")


def test_ten_levels_are_not_too_deep() -> None:
    content = '{"a":' + "[" * 9 + "]" * 9 + "}"
    assert protocol.read_business(parameters(biz_content=content), is_flat=False)


def test_a_flat_methods_fields_are_the_parameters_that_are_not_common() -> None:
    read = parameters(method="alipay.system.oauth.token", grant_type="authorization_code", code="", x="é")
    assert protocol.read_business(read, is_flat=True) == {"grant_type": "authorization_code", "x": "é"}
