"""Receivers, splits and their returns through the gateway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sandbox.alipay.bazaar import Bazaar, Seller, new_no

pytestmark = pytest.mark.database
RECEIVER = "2088000000000777"


async def bound(seller: Seller, *accounts: str) -> dict[str, Any]:
    receivers = [{"type": "userId", "account": account, "name": "门店"} for account in accounts]
    return await seller.ask(
        "alipay.trade.royalty.relation.bind", {"receiver_list": receivers, "out_request_no": new_no()}
    )


async def settle(seller: Seller, trade_no: str, *shares: dict[str, str], **fields: Any) -> dict[str, Any]:
    biz = {"out_request_no": new_no(), "trade_no": trade_no, "royalty_parameters": list(shares), **fields}
    return await seller.ask("alipay.trade.order.settle", biz)


async def test_a_split_is_settled_asked_for_and_returned_by_a_refund(bazaar: Bazaar, seller: Seller) -> None:
    assert (await bound(seller, RECEIVER))["result_code"] == "SUCCESS"
    paid = await seller.pay(total_amount="100.00")
    done = await settle(seller, paid["trade_no"], {"trans_in": RECEIVER, "amount": "10.00", "desc": "佣金"})
    assert (done["code"], len(done["settle_no"])) == ("10000", 28)
    found = await seller.ask("alipay.trade.order.settle.query", {"settle_no": done["settle_no"]})
    [share] = found["royalty_detail_list"]
    assert (share["trans_in"], share["amount"], share["state"]) == (RECEIVER, "10.00", "SUCCESS")
    assert (await seller.till.balances(bazaar.shop.platform))["receiver_pending"] == 1_000
    back = {
        "trade_no": paid["trade_no"],
        "refund_amount": "50.00",
        "out_request_no": new_no(),
        "refund_royalty_parameters": [{"trans_out": RECEIVER, "amount": "4.00"}],
    }
    assert (await seller.ask("alipay.trade.refund", back))["refund_fee"] == "50.00"
    assert (await seller.till.balances(bazaar.shop.platform))["receiver_pending"] == 600


async def test_an_order_wishes_for_its_shares(bazaar: Bazaar, seller: Seller) -> None:
    await bound(seller, RECEIVER)
    info = {"royalty_type": "ROYALTY", "royalty_detail_infos": [{"trans_in": RECEIVER, "amount_percentage": "12.5"}]}
    paid = await seller.pay(total_amount="80.00", royalty_info=info)
    assert paid["code"] == "10000"
    await bazaar.shop.work_for(seller.till, rounds=2)
    assert (await seller.till.balances(bazaar.shop.platform))["receiver_pending"] == 1_000


@pytest.mark.parametrize(
    ("share", "sub_code"),
    [
        ({"trans_in": "2088000000009999", "amount": "1.00"}, "ACQ.ROYALTY_RECEIVER_INVALID"),
        ({"trans_in": RECEIVER, "amount": "30.01"}, "ACQ.ALLOC_AMOUNT_VALIDATE_ERROR"),
        ({"trans_in": RECEIVER, "amount_percentage": "half"}, "ACQ.INVALID_PARAMETER"),
        ({"trans_in": RECEIVER}, "ACQ.INVALID_PARAMETER"),
    ],
)
async def test_a_split_that_cannot_be_is_refused_and_moves_nothing(
    bazaar: Bazaar, seller: Seller, share: dict[str, str], sub_code: str
) -> None:
    await bound(seller, RECEIVER)
    paid = await seller.pay(total_amount="100.00")
    before = await seller.till.balances(bazaar.shop.platform)
    assert (await settle(seller, paid["trade_no"], share))["sub_code"] == sub_code
    assert await seller.till.balances(bazaar.shop.platform) == before


async def test_modes_do_not_mix_and_numbers_repeat(seller: Seller) -> None:
    await bound(seller, RECEIVER)
    paid = await seller.pay(total_amount="100.00")
    biz = {
        "out_request_no": new_no(),
        "trade_no": paid["trade_no"],
        "royalty_parameters": [{"trans_in": RECEIVER, "amount": "1.00"}],
    }
    first = await seller.ask("alipay.trade.order.settle", biz)
    assert (await seller.ask("alipay.trade.order.settle", biz))["settle_no"] == first["settle_no"]
    mixed = await settle(seller, paid["trade_no"], {"trans_in": RECEIVER, "amount": "1.00"}, royalty_mode="async")
    assert (mixed["sub_code"], "split_mode_mixed" in mixed["sub_msg"]) == ("ACQ.INVALID_PARAMETER", True)
    none = await seller.ask("alipay.trade.order.settle.query", {"settle_no": "2026112222001000000000000000"})
    assert none["sub_code"] == "ACQ.TRADE_SETTLE_NOT_EXIST"
