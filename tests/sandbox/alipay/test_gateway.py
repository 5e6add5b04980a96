"""The door: every refusal before the business changes nothing, answers verify, absolute addresses are plain."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest

from sandbox.simulators.alipay_gateway.app import _make_plain
from sandbox.simulators.alipay_gateway.keys import public_line
from sandbox.simulators.alipay_gateway.methods import catalogue
from tests.sandbox.alipay.bazaar import Bazaar, Seller, new_code, new_no
from tests.sandbox.alipay.keys import key

pytestmark = pytest.mark.database
TABLES = (
    "pay_payment",
    "pay_attempt",
    "pay_transaction",
    "pay_refund",
    "ledger_account",
    "ledger_transfer",
    "ledger_pending",
    "outbox",
    "due",
    "idempotency",
    "sim_alipay_id",
)


async def money(bazaar: Bazaar) -> list[Any]:
    """A digest of every table of money, and of what follows from it."""
    sql = "SELECT md5(string_agg(t::text, chr(10) ORDER BY t::text)) FROM {} t"
    return [(await bazaar.shop.fetch(sql.format(table)))[0][0] for table in TABLES]


BIZ = {"out_trade_no": "x1", "total_amount": "1.00", "subject": "s", "auth_code": "280000000000000001"}
REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    ("no method", {"method": None}, "40001", "isv.missing-method"),
    ("no app", {"app_id": None}, "40001", "isv.missing-app-id"),
    ("unknown app", {"app_id": "2021999999999999"}, "40002", "isv.invalid-app-id"),
    ("no sign_type", {"sign_type": None, "sign": "c2ln"}, "40001", "isv.missing-signature-type"),
    ("no sign", {"sign": None}, "40001", "isv.missing-signature"),
    ("odd sign_type", {"sign_type": "MD5", "sign": "c2ln"}, "40002", "isv.invalid-signature-type"),
    ("no timestamp", {"timestamp": None}, "40001", "isv.missing-timestamp"),
    ("no version", {"version": None}, "40001", "isv.missing-version"),
    ("odd timestamp", {"timestamp": "today"}, "40002", "isv.invalid-timestamp"),
    ("odd charset", {"charset": "utf-7"}, "40002", "isv.invalid-charset"),
    ("odd format", {"format": "xml"}, "40002", "isv.invalid-format"),
    ("encrypted", {"encrypt_type": "AES"}, "40002", "isv.invalid-encrypt-type"),
    ("bad signature", {"sign": "c2ln"}, "40002", "isv.invalid-signature"),
    ("unknown method", {"method": "alipay.trade.give"}, "40002", "isv.invalid-method"),
    ("method of later", {"method": "alipay.marketing.card.open"}, "40002", "isv.invalid-method"),
    ("token of nobody", {"app_auth_token": "t"}, "20001", "aop.invalid-app-auth-token"),
    ("no json", {"biz_content": "{"}, "40002", "isv.illegal-json"),
    ("no field", {"biz_content": "{}"}, "40004", "ACQ.INVALID_PARAMETER"),
]


@pytest.mark.parametrize(("changed", "code", "sub_code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
async def test_a_refused_request_changes_nothing(
    bazaar: Bazaar, seller: Seller, changed: dict[str, Any], code: str, sub_code: str
) -> None:
    await seller.pay()
    before, calls = await money(bazaar), len(bazaar.shop.acquirer.calls)
    biz = json.dumps(BIZ | {"out_trade_no": new_no(), "auth_code": new_code()})
    parameters = {"method": "alipay.trade.pay", "biz_content": biz, **changed}
    node = await bazaar.exchange(seller.signed(parameters.pop("method"), **parameters))
    assert (node["code"], node["sub_code"]) == (code, sub_code)
    is_unnamed = sub_code in ("isv.missing-method", "isv.invalid-method")
    assert node["_node"] == ("error_response" if is_unnamed else "alipay_trade_pay_response")
    assert await money(bazaar) == before
    assert len(bazaar.shop.acquirer.calls) == calls


async def test_a_bad_signature_names_the_string_and_a_number_under_which_it_is_kept(
    bazaar: Bazaar, seller: Seller
) -> None:
    node = await bazaar.exchange(seller.signed("alipay.trade.query", {"out_trade_no": "a1"}, sign="c2ln"))
    [kept] = await bazaar.shop.fetch(
        "SELECT * FROM sim_alipay_request WHERE app_id = $1 ORDER BY received_at DESC, id DESC LIMIT 1", seller.app_id
    )
    assert kept["id"] in node["sub_msg"]
    assert 'biz_content={"out_trade_no": "a1"}&charset=utf-8&method=alipay.trade.query' in node["sub_msg"]
    assert (kept["code"], kept["sub_code"]) == ("40002", "isv.invalid-signature")
    assert json.loads(kept["doctor"])["code"] == "unknown"


async def test_an_app_without_a_key_is_told_so(bazaar: Bazaar, seller: Seller) -> None:
    till = await bazaar.shop.new_till()
    number = await bazaar.alipay.numbers.of_app(f"app_of_{till.merchant_id}")
    node = await bazaar.exchange(seller.signed("alipay.trade.query", {"out_trade_no": "a1"}, app_id=number))
    assert (node["code"], node["sub_code"]) == ("40003", "isv.missing-signature-config")


async def test_scope_merchant_and_rotation_of_keys_are_heeded(bazaar: Bazaar, seller: Seller) -> None:
    other = await bazaar.new_seller(scopes=("payments:read",))
    paid = await seller.pay()
    refused = await other.pay()
    assert (refused["code"], refused["sub_code"]) == ("40006", "isv.insufficient-isv-permissions")
    for biz in ({"trade_no": paid["trade_no"]}, {"out_trade_no": paid["out_trade_no"]}):
        node = await other.ask("alipay.trade.query", biz)
        assert node["sub_code"] == "ACQ.TRADE_NOT_EXIST"
    await bazaar.tools.rings.upload(other.app_id, public_line(key("another").public_key()))
    node = await other.ask("alipay.trade.query", {"out_trade_no": "a1"})
    assert node["sub_code"] == "isv.invalid-signature"


async def test_get_carries_all_in_the_query_and_blank_values_may_be_signed_or_not(
    bazaar: Bazaar, seller: Seller
) -> None:
    number = (await seller.pay())["out_trade_no"]
    signed = seller.signed("alipay.trade.query", {"out_trade_no": number}, app_auth_token="")
    assert '"trade_status":"TRADE_SUCCESS"' in await bazaar.get(signed)
    unsigned = seller.signed("alipay.trade.query", {"out_trade_no": number}) | {"app_auth_token": ""}
    assert '"trade_status":"TRADE_SUCCESS"' in await bazaar.get(unsigned)


async def test_a_parameter_in_query_and_form_is_refused_and_a_form_too_long_too(bazaar: Bazaar, seller: Seller) -> None:
    signed = seller.signed("alipay.trade.query", {"out_trade_no": "a1"})
    twice = await bazaar.shop.client.post(f"/gateway.do?{urlencode({'app_id': seller.number})}", data=signed)
    assert '"sub_code":"isv.invalid-parameter"' in twice.text
    long = await bazaar.shop.client.post(
        f"/gateway.do?{urlencode(signed)}", content=b"body=" + b"x" * (256 * 1024), headers={"content-type": "x"}
    )
    assert (long.status_code, '"sub_code":"isv.invalid-parameter"' in long.text) == (200, True)


async def test_rsa_with_sha1_is_answered_alike(seller: Seller) -> None:
    node = await seller.ask("alipay.trade.query", {"out_trade_no": "a1"}, sign_type="RSA")
    assert node["sub_code"] == "ACQ.TRADE_NOT_EXIST"


async def test_our_own_fault_is_20000_signed_and_rings(
    bazaar: Bazaar, seller: Seller, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(type(bazaar.alipay.numbers), "named", fail)
    node = await seller.ask("alipay.trade.query", {"out_trade_no": "a1"})
    assert (node["code"], node["sub_code"]) == ("20000", "isp.unknow-error")
    assert "planted" not in node["sub_msg"]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("path", "raw", "plain"),
    [
        ("http://shop.test/gateway.do", b"http://shop.test/gateway.do", "/gateway.do"),
        ("http://127.0.0.1:80/v1/payments", b"http://127.0.0.1:80/v1/payments", "/v1/payments"),
        ("https://shop.test", b"https://shop.test", "/"),
        ("/gateway.do", b"/gateway.do", "/gateway.do"),
        ("/a://b", b"/a://b", "/a://b"),
    ],
)
def test_an_absolute_target_is_reduced_to_its_path(path: str, raw: bytes, plain: str) -> None:
    scope: dict[str, Any] = {"path": path, "raw_path": raw}
    _make_plain(scope)
    assert (scope["path"], scope["raw_path"]) == (plain, plain.encode())


@pytest.mark.unit
def test_every_row_of_the_methods_can_be_read_by_both_clients() -> None:
    rows = catalogue()
    assert len(rows) >= 25
    assert {row.name for row in rows.values() if row.translate is not None} >= {
        "alipay.trade.pay",
        "alipay.trade.refund",
    }
