"""Wallet, faults, account log, unused fields: what developers play with and look at."""

from __future__ import annotations

import json
from datetime import UTC, timedelta
from typing import Any

import pytest

from sandbox.simulators.alipay_gateway.protocol import CHINA
from tests.sandbox.alipay.bazaar import Bazaar, Seller, new_no

pytestmark = pytest.mark.database


async def play(seller: Seller, path: str, body: dict[str, Any]) -> Any:
    answer = await seller.till.client.post(
        f"/sandbox/v1/alipay{path}", json=body, headers={"Authorization": f"Bearer {seller.till.token}"}
    )
    return answer.json() | {"_status": answer.status_code}


async def shown(seller: Seller) -> tuple[str, str]:
    """Number and code of a new order."""
    number = new_no()
    order = {"out_trade_no": number, "total_amount": "5.00", "subject": "扫码"}
    return number, (await seller.ask("alipay.trade.precreate", order))["qr_code"]


async def test_a_read_code_is_a_trade_that_waits_and_a_poor_customer_leaves_it_open(
    bazaar: Bazaar, seller: Seller
) -> None:
    number, code = await shown(seller)
    assert (await play(seller, "/wallet/scan", {"qr_code": code, "act": "read"}))["status"] == "PENDING"
    found = await seller.ask("alipay.trade.query", {"out_trade_no": number})
    assert (found["trade_status"], found["buyer_user_id"][:4]) == ("WAIT_BUYER_PAY", "2088")
    assert (await play(seller, "/wallet/scan", {"qr_code": code, "buyer": "poor"}))["status"] == "FAILED"
    assert (await play(seller, "/wallet/scan", {"qr_code": code}))["status"] == "SUCCESS"
    bazaar.shop.later(seconds=6)
    assert (await seller.ask("alipay.trade.query", {"out_trade_no": number}))["trade_status"] == "TRADE_SUCCESS"
    other = await bazaar.new_seller()
    assert (await play(other, "/wallet/scan", {"qr_code": code}))["_status"] == 404


async def test_faults_hit_their_own_app_as_often_as_told(bazaar: Bazaar, seller: Seller) -> None:
    other = await bazaar.new_seller()
    for body in (
        {"effect": "user_paying", "argument": "1", "method": "alipay.trade.pay"},
        {"effect": "decline", "argument": "ACQ.BUYER_BALANCE_NOT_ENOUGH", "match": {"subject": "面条"}},
        {"effect": "system_error", "method": "alipay.trade.query"},
    ):
        assert (await play(seller, "/faults", body))["_status"] == 201
    assert (await play(seller, "/faults", {"effect": "earthquake"}))["_status"] == 422
    assert (await other.pay())["code"] == "10000"
    answers = [await seller.pay() for _ in range(3)]
    assert [answer.get("sub_code", answer["code"]) for answer in answers] == [
        "10003",
        "ACQ.BUYER_BALANCE_NOT_ENOUGH",
        "10000",
    ]
    asked = {"out_trade_no": answers[2]["out_trade_no"]}
    assert (await seller.ask("alipay.trade.query", asked))["sub_code"] == "isp.unknow-error"
    assert (await seller.ask("alipay.trade.query", asked))["trade_status"] == "TRADE_SUCCESS"
    rows = await bazaar.shop.fetch("SELECT used, times_left FROM sim_alipay_fault WHERE app_id = $1", seller.app_id)
    assert [(row["used"], row["times_left"]) for row in rows] == [(1, 0)] * 3


@pytest.mark.parametrize(
    ("effect", "argument", "status", "is_whole"),
    [("http_status", "503", 503, False), ("truncated", "", 200, False), ("bad_signature", "", 200, True)],
)
async def test_a_fault_on_the_wire_spoils_the_answer_and_not_the_money(
    bazaar: Bazaar, seller: Seller, effect: str, argument: str, status: int, is_whole: bool
) -> None:
    await play(seller, "/faults", {"effect": effect, "argument": argument})
    number = new_no()
    biz = {"out_trade_no": number, "total_amount": "1.00", "subject": "x", "auth_code": f"28{number[7:]:0>16}"}
    answer = await bazaar.shop.client.post("/gateway.do", data=seller.signed("alipay.trade.pay", biz))
    assert answer.status_code == status
    if is_whole:
        assert json.loads(answer.text)["alipay_trade_pay_response"]["code"] == "10000"
    else:
        assert len(answer.content) < int(answer.headers["content-length"]) or not answer.content
    assert (await seller.ask("alipay.trade.query", {"out_trade_no": number}))["trade_status"] == "TRADE_SUCCESS"


async def test_the_account_log_is_the_ledgers(bazaar: Bazaar, seller: Seller) -> None:
    now = bazaar.shop.clock.now().astimezone(UTC)
    number = (await seller.pay(total_amount="100.00"))["out_trade_no"]
    await seller.ask("alipay.trade.refund", {"out_trade_no": number, "refund_amount": "100.00"})
    window = {
        "start_time": (now - timedelta(hours=1)).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S"),
        "end_time": (now + timedelta(hours=1)).astimezone(CHINA).strftime("%Y-%m-%d %H:%M:%S"),
    }
    found = await seller.ask("alipay.data.bill.accountlog.query", window)
    entries = [(row["direction"], row["type"], row["trans_amount"]) for row in found["detail_list"]]
    assert entries[:2] == [("收入", "交易收款", "100.00"), ("支出", "服务费", "0.60")]
    signs = {"收入": 1, "支出": -1}
    total = sum(signs[way] * int(amount.replace(".", "")) for way, _, amount in entries)
    assert total == (await seller.till.balances(bazaar.shop.platform)).get("merchant_pending", 0)
    second = await seller.ask("alipay.data.bill.accountlog.query", window | {"page_no": 2, "page_size": "1"})
    assert (second["total_size"], second["detail_list"][0]["type"]) == (str(len(entries)), entries[1][1])
    swapped = {"start_time": window["end_time"], "end_time": window["start_time"]}
    assert (await seller.ask("alipay.data.bill.accountlog.query", swapped))["sub_code"] == "isv.invalid-parameter"


async def test_fields_that_nobody_reads_are_counted(bazaar: Bazaar, seller: Seller) -> None:
    await seller.pay(extend_params={"hb_fq_num": "3"}, undiscountable_amount="1.00")
    unused = await bazaar.alipay.book.unused(seller.app_id)
    assert dict(unused["alipay.trade.pay"]) == {"extend_params": 1, "undiscountable_amount": 1}
