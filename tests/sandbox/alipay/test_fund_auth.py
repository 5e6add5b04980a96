"""Freezing, paying out of a freeze in parts, unfreezing; refunds that go no further than their capture."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.alipay.bazaar import Seller, new_code, new_no

pytestmark = pytest.mark.database


async def freeze(seller: Seller, **fields: Any) -> dict[str, Any]:
    """A freeze of 100.00."""
    biz = {
        "out_order_no": new_no(),
        "out_request_no": new_no(),
        "amount": "100.00",
        "order_title": "押金",
        "auth_code": new_code(),
        "product_code": "PRE_AUTH",
        **fields,
    }
    return await seller.ask("alipay.fund.auth.order.freeze", biz)


async def capture(seller: Seller, auth_no: str, amount: str, mode: str = "NOT_COMPLETE") -> dict[str, Any]:
    """alipay.trade.pay out of a freeze."""
    biz = {
        "out_trade_no": new_no(),
        "auth_no": auth_no,
        "total_amount": amount,
        "subject": "住宿",
        "auth_confirm_mode": mode,
    }
    return await seller.ask("alipay.trade.pay", biz)


async def detail(seller: Seller, **fields: Any) -> dict[str, Any]:
    return await seller.ask("alipay.fund.auth.operation.detail.query", fields)


async def test_two_captures_and_an_unfreezing_end_a_freeze(seller: Seller) -> None:
    frozen = await freeze(seller)
    assert (frozen["code"], frozen["status"], len(frozen["auth_no"])) == ("10000", "SUCCESS", 28)
    first = await capture(seller, frozen["auth_no"], "30.00")
    second = await capture(seller, frozen["auth_no"], "20.00")
    assert [answer["buyer_pay_amount"] for answer in (first, second)] == ["30.00", "20.00"]
    assert first["trade_no"] != second["trade_no"]
    found = await detail(seller, auth_no=frozen["auth_no"], operation_id=frozen["operation_id"])
    assert {
        name: found[name] for name in ("order_status", "rest_amount", "total_freeze_amount", "total_pay_amount")
    } == {
        "order_status": "AUTHORIZED",
        "rest_amount": "50.00",
        "total_freeze_amount": "100.00",
        "total_pay_amount": "50.00",
    }
    let_go = {"auth_no": frozen["auth_no"], "out_request_no": new_no(), "amount": "50.00", "remark": "退押金"}
    done = await seller.ask("alipay.fund.auth.order.unfreeze", let_go)
    assert (done["status"], done["amount"]) == ("SUCCESS", "50.00")
    assert (await seller.ask("alipay.fund.auth.order.unfreeze", let_go))["operation_id"] == done["operation_id"]
    found = await detail(seller, out_order_no=frozen["out_order_no"], out_request_no=let_go["out_request_no"])
    assert (found["order_status"], found["operation_type"]) == ("FINISH", "UNFREEZE")
    over = await capture(seller, frozen["auth_no"], "1.00")
    assert over["sub_code"] == "ACQ.AUTH_ORDER_HAS_FINISHED"
    balances = await seller.till.balances(seller.bazaar.shop.platform)
    assert balances["merchant_pending"] == 5_000 - 30


async def test_a_capture_is_a_trade_of_its_own_and_is_refunded_no_further(seller: Seller) -> None:
    frozen = await freeze(seller)
    small = await capture(seller, frozen["auth_no"], "10.00")
    large = await capture(seller, frozen["auth_no"], "60.00")
    found = await seller.ask("alipay.trade.query", {"out_trade_no": small["out_trade_no"]})
    assert (found["trade_status"], found["total_amount"], found["subject"]) == ("TRADE_SUCCESS", "10.00", "住宿")
    too_much = {"trade_no": small["trade_no"], "refund_amount": "10.01", "out_request_no": new_no()}
    assert (await seller.ask("alipay.trade.refund", too_much))["sub_code"] == "ACQ.REASON_TRADE_REFUND_FEE_ERR"
    back = {"trade_no": small["trade_no"], "refund_amount": "10.00"}
    assert (await seller.ask("alipay.trade.refund", back))["refund_fee"] == "10.00"
    statuses = [
        (await seller.ask("alipay.trade.query", {"trade_no": trade["trade_no"]}))["trade_status"]
        for trade in (small, large)
    ]
    assert statuses == ["TRADE_CLOSED", "TRADE_SUCCESS"]
    assert (await seller.ask("alipay.trade.query", {"out_trade_no": frozen["out_order_no"]}))["sub_code"] == (
        "ACQ.TRADE_NOT_EXIST"
    )


async def test_more_than_is_frozen_is_refused_and_the_same_request_captures_once(seller: Seller) -> None:
    frozen = await freeze(seller)
    assert (await capture(seller, frozen["auth_no"], "100.01"))["sub_code"] == "ACQ.AUTH_AMOUNT_NOT_ENOUGH"
    biz = {"out_trade_no": new_no(), "auth_no": frozen["auth_no"], "total_amount": "40.00", "subject": "s"}
    answers = [await seller.ask("alipay.trade.pay", biz) for _ in range(2)]
    assert [answer["trade_no"] for answer in answers] == [answers[0]["trade_no"]] * 2
    found = await detail(seller, auth_no=frozen["auth_no"], out_request_no=biz["out_trade_no"])
    assert (found["operation_type"], found["total_pay_amount"], found["order_status"]) == ("PAY", "40.00", "FINISH")


async def test_declined_and_unknown_freezes_read_as_such(seller: Seller) -> None:
    refused = await freeze(seller, auth_code=f"sim:decline_balance:{new_no()}")
    assert refused["sub_code"] == "ACQ.BUYER_BALANCE_NOT_ENOUGH"
    typing = await freeze(seller, auth_code=f"sim:paying-2:{new_no()}")
    assert (typing["code"], typing["status"]) == ("10003", "INIT")
    other = await detail(seller, auth_no="2026112222001000000000000000", out_request_no="r1")
    assert other["sub_code"] == "ACQ.AUTH_ORDER_NOT_EXIST"
    assert (await detail(seller, auth_no=typing["auth_no"]))["sub_code"] == "isv.invalid-parameter"
