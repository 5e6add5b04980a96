"""alipay.trade.* through the door: the native services' word in the protocol's words."""

from __future__ import annotations

import pytest

from tests.sandbox.alipay.bazaar import Bazaar, Seller, new_code, new_no
from tests.sandbox.alipay.test_envelope import HOSTILE

pytestmark = pytest.mark.database


def code_of(node: dict[str, str]) -> str:
    return node.get("sub_code") or node["code"]


async def test_a_paid_code_is_a_native_payment(seller: Seller) -> None:
    number = new_no()
    paid = await seller.pay(out_trade_no=number, total_amount=88.88)
    assert paid["code"] == "10000"
    assert len(paid["trade_no"]) == 28
    assert {name: paid[name] for name in ("out_trade_no", "total_amount", "receipt_amount", "buyer_pay_amount")} == {
        "out_trade_no": number,
        "total_amount": "88.88",
        "receipt_amount": "88.88",
        "buyer_pay_amount": "88.88",
    }
    assert paid["fund_bill_list"] == [{"fund_channel": "ALIPAYACCOUNT", "amount": "88.88"}]
    native = (await seller.till.get(f"/payments/out_trade_no:{number}")).json()
    assert (native["state"], native["amounts"]["captured_minor"]) == ("captured", 8_888)
    found = await seller.ask("alipay.trade.query", {"trade_no": paid["trade_no"]})
    assert (found["trade_status"], found["out_trade_no"]) == ("TRADE_SUCCESS", number)
    assert found["trade_no"] == paid["trade_no"]


async def test_a_customer_who_types_is_10003_until_paid(bazaar: Bazaar, seller: Seller) -> None:
    number = new_no()
    code = f"sim:paying-2:{number}"
    assert (await seller.pay(out_trade_no=number, auth_code=code))["code"] == "10003"
    statuses = []
    for _ in range(3):
        bazaar.shop.later(seconds=5)
        statuses.append((await seller.ask("alipay.trade.query", {"out_trade_no": number}))["trade_status"])
    assert statuses == ["WAIT_BUYER_PAY", "TRADE_SUCCESS", "TRADE_SUCCESS"]
    again = await seller.pay(out_trade_no=number, auth_code=code)
    assert (again["code"], again["buyer_pay_amount"]) == ("10000", "88.88")  # the same request: its present state
    assert code_of(await seller.pay(out_trade_no=number)) == "ACQ.TRADE_HAS_SUCCESS"


async def test_a_declined_trade_is_tried_again_under_its_number(seller: Seller) -> None:
    number = new_no()
    refused = await seller.pay(out_trade_no=number, auth_code=f"sim:decline_balance:{number}")
    assert (refused["code"], refused["sub_code"]) == ("40004", "ACQ.BUYER_BALANCE_NOT_ENOUGH")
    assert (await seller.ask("alipay.trade.query", {"out_trade_no": number}))["trade_status"] == "WAIT_BUYER_PAY"
    assert code_of(await seller.pay(out_trade_no=number, total_amount="1.00")) == "ACQ.CONTEXT_INCONSISTENT"
    assert (await seller.pay(out_trade_no=number))["code"] == "10000"


async def test_a_code_pays_once(seller: Seller) -> None:
    code = new_code()
    assert (await seller.pay(auth_code=code))["code"] == "10000"
    assert code_of(await seller.pay(auth_code=code)) == "ACQ.PAYMENT_AUTH_CODE_INVALID"


async def test_a_lost_answer_is_a_system_error_and_cancel_takes_the_money_back(bazaar: Bazaar, seller: Seller) -> None:
    number = new_no()
    lost = await seller.pay(out_trade_no=number, auth_code=f"sim:timeout_after_charge:{number}")
    assert code_of(lost) == "ACQ.SYSTEM_ERROR"
    canceled = await seller.ask("alipay.trade.cancel", {"out_trade_no": number})
    assert canceled["code"] == "10000"
    assert canceled["retry_flag"] == "N"
    native = (await seller.till.get(f"/payments/out_trade_no:{number}")).json()
    assert native["state"] == "canceled"
    keys = {row["id"] for row in await bazaar.shop.transactions(native["id"])}
    assert bazaar.shop.acquirer.collected(keys) == 0


async def test_a_scanned_code_is_a_trade_and_an_unscanned_one_none(bazaar: Bazaar, seller: Seller) -> None:
    number = new_no()
    order = {"out_trade_no": number, "total_amount": "12.30", "subject": "面条"}
    shown = await seller.ask("alipay.trade.precreate", order)
    assert shown["out_trade_no"] == number
    assert (await seller.ask("alipay.trade.precreate", order))["qr_code"] == shown["qr_code"]
    assert code_of(await seller.ask("alipay.trade.query", {"out_trade_no": number})) == "ACQ.TRADE_NOT_EXIST"
    bazaar.shop.acquirer.scan(shown["qr_code"])
    bazaar.shop.later(seconds=6)
    found = await seller.ask("alipay.trade.query", {"out_trade_no": number})
    assert (found["trade_status"], found["buyer_pay_amount"]) == ("TRADE_SUCCESS", "12.30")
    assert code_of(await seller.ask("alipay.trade.close", {"out_trade_no": number})) == "ACQ.TRADE_STATUS_ERROR"


async def test_cancel_returns_a_paid_trade_closes_an_unpaid_one_and_bars_an_unknown_one(seller: Seller) -> None:
    paid, unpaid, unknown = new_no(), new_no(), new_no()
    await seller.pay(out_trade_no=paid)
    await seller.ask("alipay.trade.precreate", {"out_trade_no": unpaid, "total_amount": "1.00", "subject": "x"})
    answers = [await seller.ask("alipay.trade.cancel", {"out_trade_no": number}) for number in (paid, unpaid, unknown)]
    assert [answer.get("action") for answer in answers] == ["refund", "close", None]
    assert {answer["code"] for answer in answers} == {"10000"}
    assert (await seller.ask("alipay.trade.query", {"out_trade_no": paid}))["trade_status"] == "TRADE_CLOSED"
    assert code_of(await seller.pay(out_trade_no=unknown)) in ("ACQ.TRADE_HAS_CLOSE", "ACQ.CONTEXT_INCONSISTENT")


async def test_three_partial_refunds_and_a_fourth_refused(seller: Seller) -> None:
    number = new_no()
    await seller.pay(out_trade_no=number, total_amount="10.00")
    biz = {"out_trade_no": number, "refund_amount": "3.00", "refund_reason": "凉了"}
    assert code_of(await seller.ask("alipay.trade.refund", biz)) == "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL"
    fees = []
    for part in (1, 2, 3):
        done = await seller.ask("alipay.trade.refund", biz | {"out_request_no": f"r{part}"})
        fees.append((done["fund_change"], done["refund_fee"], done["send_back_fee"]))
    assert fees == [("Y", "3.00", "3.00"), ("Y", "6.00", "3.00"), ("Y", "9.00", "3.00")]
    again = await seller.ask("alipay.trade.refund", biz | {"out_request_no": "r2"})
    assert (again["fund_change"], again["refund_fee"]) == ("N", "9.00")
    fourth = await seller.ask("alipay.trade.refund", biz | {"out_request_no": "r4"})
    assert code_of(fourth) == "ACQ.REASON_TRADE_REFUND_FEE_ERR"
    other = await seller.ask("alipay.trade.refund", biz | {"out_request_no": "r2", "refund_amount": "0.50"})
    assert code_of(other) == "ACQ.DISCORDANT_REPEAT_REQUEST"
    found = await seller.ask("alipay.trade.fastpay.refund.query", {"out_trade_no": number, "out_request_no": "r2"})
    assert (found["refund_status"], found["refund_amount"]) == ("REFUND_SUCCESS", "3.00")
    none = await seller.ask("alipay.trade.fastpay.refund.query", {"out_trade_no": number, "out_request_no": "r4"})
    assert set(none) == {"code", "msg", "_node"}
    balances = await seller.till.balances(seller.bazaar.shop.platform)
    assert balances["merchant_pending"] == 100 - 1  # of 10.00 paid 9.00 are back, and 60 bp of what stays


async def test_a_full_refund_closes_the_trade(seller: Seller) -> None:
    number = new_no()
    await seller.pay(out_trade_no=number, total_amount="10.00")
    done = await seller.ask("alipay.trade.refund", {"out_trade_no": number, "refund_amount": "10.00"})
    assert (done["code"], done["refund_fee"]) == ("10000", "10.00")
    assert (await seller.ask("alipay.trade.query", {"out_trade_no": number}))["trade_status"] == "TRADE_CLOSED"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
async def test_hostile_text_comes_back_equal_and_signed(seller: Seller, text: str) -> None:
    number = new_no()
    goods = [{"goods_id": "1", "goods_name": text[:256], "quantity": 2, "price": "0.50"}]
    biz = {
        "out_trade_no": number,
        "total_amount": "1.00",
        "subject": text[:256],
        "body": text,
        "goods_detail": goods,
        "passback_params": text[:512],
    }
    assert (await seller.pay(**biz))["code"] == "10000"
    found = await seller.ask("alipay.trade.query", {"out_trade_no": number})
    assert (found["subject"], found["body"], found["passback_params"]) == (text[:256], text, text[:512])
    native = (await seller.till.get(f"/payments/out_trade_no:{number}")).json()
    assert native["subject"] == text[:256]
    refused = await seller.pay(subject=text + "x" * 257)
    assert (refused["sub_code"], refused["sub_msg"]) == ("ACQ.INVALID_PARAMETER", "参数无效：subject")
