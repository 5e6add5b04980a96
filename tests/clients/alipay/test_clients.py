"""Published clients, unmodified, at the gateway: python-alipay-sdk (plain, with certificates), alipay-sdk-python.

Every answer is verified by the client itself; one that it cannot verify fails the call.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.clients.alipay.conftest import Shopkeeper, Theatre, configured, open_client
from tests.sandbox.alipay.test_envelope import HOSTILE

pytestmark = pytest.mark.clients
_numbers = itertools.count(1)
KINDS = ("plain", "dc", "asp")
PARSERS = ("httptools", "h11")
SIGN_TYPES = ("RSA2", "RSA")


def new_no() -> str:
    return f"client_{next(_numbers)}"


def new_code() -> str:
    return f"29{next(_numbers):014d}"


async def pay(shop: Shopkeeper, **fields: Any) -> dict[str, Any]:
    biz = {"out_trade_no": new_no(), "total_amount": "88.88", "subject": "面条", "auth_code": new_code(), **fields}
    return await shop.call("alipay.trade.pay", {"scene": "bar_code", **biz})


@pytest.mark.parametrize("sign_type", SIGN_TYPES)
@pytest.mark.parametrize("parser", PARSERS)
@pytest.mark.parametrize("kind", KINDS)
async def test_a_till_works_whatever_the_client_the_parser_and_the_hash(
    theatre: Theatre, kind: str, parser: str, sign_type: str
) -> None:
    """Precreate and scan, pay by code with the user paying twice, query, cancel, refund, refund query; and one no."""
    shop = await open_client(theatre, kind, parser=parser, sign_type=sign_type)
    order = {"out_trade_no": new_no(), "total_amount": "12.30", "subject": "扫码"}
    shown = await shop.call("alipay.trade.precreate", order)
    assert (await shop.call("alipay.trade.query", {"out_trade_no": order["out_trade_no"]}))["sub_code"] == (
        "ACQ.TRADE_NOT_EXIST"
    )
    await shop.stage("scan", code=shown["qr_code"])
    await shop.stage("later", seconds=6)
    found = await shop.call("alipay.trade.query", {"out_trade_no": order["out_trade_no"]})
    assert (found["trade_status"], found["buyer_pay_amount"]) == ("TRADE_SUCCESS", "12.30")

    number = new_no()
    typing = await pay(shop, out_trade_no=number, auth_code=f"sim:paying-3:{number}")
    statuses = [typing["code"]]
    for _ in range(3):
        await shop.stage("later", seconds=5)
        statuses.append((await shop.call("alipay.trade.query", {"out_trade_no": number}))["trade_status"])
    assert statuses == ["10003", "WAIT_BUYER_PAY", "WAIT_BUYER_PAY", "TRADE_SUCCESS"]

    part = {"out_trade_no": number, "refund_amount": "8.88", "out_request_no": new_no()}
    assert (await shop.call("alipay.trade.refund", part))["refund_fee"] == "8.88"
    asked = {"out_trade_no": number, "out_request_no": part["out_request_no"]}
    assert (await shop.call("alipay.trade.fastpay.refund.query", asked))["refund_status"] == "REFUND_SUCCESS"
    too_much = await shop.call("alipay.trade.refund", part | {"refund_amount": "80.01", "out_request_no": new_no()})
    assert (too_much["code"], too_much["sub_code"]) == ("40004", "ACQ.REASON_TRADE_REFUND_FEE_ERR")

    paid = await pay(shop)
    canceled = await shop.call("alipay.trade.cancel", {"out_trade_no": paid["out_trade_no"]})
    assert (canceled["action"], canceled["retry_flag"]) == ("refund", "N")
    native = await shop.native(number)
    assert (native["amounts"]["refunded_minor"], native["collected_minor"]) == (888, 8_000)


@pytest.mark.parametrize("kind", ["plain", "asp"])
async def test_a_day_at_the_till(theatre: Theatre, kind: str) -> None:
    """A lost answer that cancel undoes, three partial refunds and a fourth refused, a freeze in two and let go."""
    shop = await open_client(theatre, kind)
    lost = new_no()
    answer = await pay(shop, out_trade_no=lost, auth_code=f"sim:timeout_after_charge:{lost}")
    assert answer["sub_code"] == "ACQ.SYSTEM_ERROR"
    assert (await shop.call("alipay.trade.cancel", {"out_trade_no": lost}))["retry_flag"] == "N"
    assert (await shop.native(lost))["collected_minor"] == 0

    paid = await pay(shop, total_amount="10.00")
    answers = [
        await shop.call(
            "alipay.trade.refund", {"trade_no": paid["trade_no"], "refund_amount": "3.00", "out_request_no": f"r{part}"}
        )
        for part in range(4)
    ]
    assert [answer.get("refund_fee") for answer in answers] == ["3.00", "6.00", "9.00", None]
    assert answers[3]["sub_code"] == "ACQ.REASON_TRADE_REFUND_FEE_ERR"

    frozen = await shop.call(
        "alipay.fund.auth.order.freeze",
        {
            "out_order_no": new_no(),
            "out_request_no": new_no(),
            "amount": "100.00",
            "order_title": "押金",
            "auth_code": new_code(),
            "product_code": "PRE_AUTH",
        },
    )
    for amount, mode in (("30.00", "NOT_COMPLETE"), ("20.00", "NOT_COMPLETE")):
        taken = await shop.call(
            "alipay.trade.pay",
            {
                "out_trade_no": new_no(),
                "auth_no": frozen["auth_no"],
                "total_amount": amount,
                "subject": "住宿",
                "auth_confirm_mode": mode,
            },
        )
        assert (taken["code"], taken["buyer_pay_amount"]) == ("10000", amount)
    let_go = {"auth_no": frozen["auth_no"], "out_request_no": new_no(), "amount": "50.00", "remark": "退押金"}
    assert (await shop.call("alipay.fund.auth.order.unfreeze", let_go))["status"] == "SUCCESS"
    asked = {"auth_no": frozen["auth_no"], "operation_id": frozen["operation_id"]}
    detail = await shop.call("alipay.fund.auth.operation.detail.query", asked)
    assert (detail["order_status"], detail["total_pay_amount"], detail["rest_amount"]) == ("FINISH", "50.00", "0.00")

    unpaid = {"out_trade_no": new_no(), "total_amount": "1.00", "subject": "x"}
    await pay(shop, **unpaid, auth_code=f"sim:decline_balance:{unpaid['out_trade_no']}")
    assert (await shop.call("alipay.trade.close", {"out_trade_no": unpaid["out_trade_no"]}))["code"] == "10000"


@pytest.mark.parametrize("kind", ["plain", "asp"])
async def test_hostile_strings_come_back_equal(theatre: Theatre, kind: str) -> None:
    shop = await open_client(theatre, kind)
    for text in HOSTILE:
        number = new_no()
        goods = [{"goods_id": "1", "goods_name": text[:200], "quantity": 1, "price": "88.88"}]
        paid = await pay(shop, out_trade_no=number, subject=text[:256], body=text, goods_detail=goods)
        assert paid["code"] == "10000", text
        found = await shop.call("alipay.trade.query", {"out_trade_no": number})
        assert (found["subject"], found["body"]) == (text[:256], text)


async def test_a_client_in_gbk_is_understood(theatre: Theatre) -> None:
    """alipay-sdk-python signs the bytes of its charset."""
    shop = await open_client(theatre, "asp", charset="gbk")
    number = new_no()
    assert (await pay(shop, out_trade_no=number, subject="中文商品", body="}{"))["code"] == "10000"
    found = await shop.call("alipay.trade.query", {"out_trade_no": number})
    assert (found["subject"], found["body"]) == ("中文商品", "}{")


async def test_what_clients_make_of_errors_and_of_an_unpaid_trade(theatre: Theatre) -> None:
    """The truths of the how-to page: which errors raise, and that is_success() says nothing of being paid."""
    shop, other = await open_client(theatre, "plain"), await open_client(theatre, "asp")
    unknown = await shop.call("alipay.trade.give", {})
    assert "code:40002" in unknown["raised"]
    assert "isv.invalid-method" in unknown["raised"]
    refused = await shop.call("alipay.trade.query", {"out_trade_no": "nobodys"})
    assert "raised" not in refused
    number = new_no()
    typing = await pay(other, out_trade_no=number, auth_code=f"sim:paying-2:{number}")
    assert (typing["code"], typing["is_success"]) == ("10003", True)


async def test_amounts_as_numbers_and_named_methods_of_the_library(theatre: Theatre) -> None:
    shop = await open_client(theatre, "plain")
    number = new_no()
    arguments = {
        "out_trade_no": number,
        "scene": "bar_code",
        "auth_code": new_code(),
        "subject": "数字金额",
        "total_amount": 0.01,
    }
    paid = await theatre.tell("pas", "named", name=shop.name, method="api_alipay_trade_pay", arguments=arguments)
    assert (paid["code"], paid["total_amount"]) == ("10000", "0.01")
    assert (await shop.native(number))["amounts"]["captured_minor"] == 1


async def test_an_isvs_client_exchanges_its_code_calls_for_the_merchant_and_is_let_go(theatre: Theatre) -> None:
    """python-alipay-sdk's ISVAliPay: authorise, exchange, pay for the merchant, ask what the token is good for, revoke.

    Its own exchange, the property app_auth_token, sends the code as a refresh token (3.4.0); its function does not.
    """
    seller = await theatre.tell("stage", "isv")
    fresh = await configured(theatre, "isv", seller, app_auth_code=seller["code"])
    named = {"method": "api_alipay_open_auth_token_app", "arguments": {}}
    first = (await theatre.tell("pas", "named", name=fresh.name, **named))["app_auth_token"]
    shop = await configured(theatre, "isv", seller, app_auth_token=first)
    paid = await pay(shop, total_amount="20.00")
    native = await shop.native(paid["out_trade_no"])
    assert (native["state"], native["amounts"]["captured_minor"]) == ("captured", 2_000)
    about = await shop.call("alipay.open.auth.token.app.query", {"app_auth_token": first})
    assert about["status"] == "valid"
    assert "alipay.trade.pay" in about["auth_methods"]
    await shop.stage("revoke", app_id=shop.app_id)
    refused = await shop.call("alipay.trade.query", {"out_trade_no": paid["out_trade_no"]})
    assert (refused["code"], refused["sub_code"]) == ("20001", "aop.invalid-app-auth-token")


async def test_tokens_are_exchanged_refreshed_and_replaced_through_alipay_sdk_python(theatre: Theatre) -> None:
    seller = await theatre.tell("stage", "isv")
    shop = await configured(theatre, "asp", seller)
    method = "alipay.open.auth.token.app"
    first = await shop.call(method, {"grant_type": "authorization_code", "code": seller["code"]})
    assert first["expires_in"] == "31536000"
    twice = await shop.call(method, {"grant_type": "authorization_code", "code": seller["code"]})
    assert twice["code"] != "10000"
    refreshed = await shop.call(method, {"grant_type": "refresh_token", "refresh_token": first["app_refresh_token"]})
    tokens = [first["app_auth_token"], refreshed["app_auth_token"]]
    number = new_no()
    biz = {"out_trade_no": number, "total_amount": "3.00", "subject": "代商户", "auth_code": new_code()}
    answers = [await shop.call("alipay.trade.pay", biz, more={"app_auth_token": token}) for token in tokens]
    assert [answer["code"] for answer in answers] == ["20001", "10000"]
    again = (await shop.stage("again", app_id=shop.app_id))["code"]
    await shop.call(method, {"grant_type": "authorization_code", "code": again})
    old = await shop.call("alipay.trade.query", {"out_trade_no": number}, more={"app_auth_token": tokens[1]})
    assert old["code"] == "20001"


@pytest.mark.parametrize("kind", ["plain", "asp"])
@pytest.mark.parametrize("sign_type", SIGN_TYPES)
async def test_notices_are_verified_by_the_client_whatever_is_in_them(
    theatre: Theatre, kind: str, sign_type: str
) -> None:
    shop = await open_client(theatre, kind, sign_type=sign_type)
    address = "http://shop.test/notify"
    more = {"notify_url": address} if kind == "asp" else {"more": {"notify_url": address}}
    for text in HOSTILE[:14]:
        biz = {"out_trade_no": new_no(), "total_amount": "8.88", "subject": text, "body": text, "auth_code": new_code()}
        await shop.call("alipay.trade.pay", biz | {"scene": "bar_code", "passback_params": text}, **more)
        [fields] = (await shop.stage("notices", app_id=shop.app_id))["told"]
        assert (fields["trade_status"], fields["total_amount"]) == ("TRADE_SUCCESS", "8.88")
        assert (fields["subject"], fields["body"], fields["passback_params"]) == (text, text, text)
        assert "" not in fields.values()
        assert (await theatre.tell(shop.client, "verify", name=shop.name, fields=fields))["verified"]
