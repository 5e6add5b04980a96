"""Refunds and cancels of payments that are split: which shares come back, who bears what, and what a failure undoes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind, drained, plain, receivers, share, split
from tests.capabilities.payments.test_acts import act, refund, refused
from tests.capabilities.payments.test_sales import read
from tests.capabilities.payments.test_settlement import settle
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


def back(split_id: str, receiver_id: str, amount: int) -> dict[str, Any]:
    return {"split_id": split_id, "receiver_id": receiver_id, "amount_minor": amount}


async def test_worked_example_balances(shop: Shop, plain_seller: Till) -> None:
    """payments.md section 4, its split and fee part: 8200 paid at 60 bp, 1000 shared, 4100 refunded with half the
    split. What funders add (rows 3, 5 and 6) comes with them; the figures here are those without.
    """
    till = plain_seller
    one = await bind(till)
    payment = await plain(till)
    funded, fee = 0, 49
    await split(till, payment, "s1", share(one, 1_000))
    balances = await till.balances(shop.platform)
    assert balances == {
        "channel_receivable": -8_200,
        "merchant_pending": 8_200 + funded - fee - 1_000,
        "receiver_pending": 1_000,
        "platform_fee": fee,
    }
    assert sum(balances.values()) == 0
    answer = (await refund(till, payment, "half", 4_100)).json()
    made = (await till.get(f"/payments/{payment['id']}/splits")).json()["data"][0]
    assert answer["split_returns"] == [back(made["id"], one, 500)]
    assert (made["state"], made["settled_minor"], made["returned_minor"]) == ("settled", 500, 500)
    fee_back = answer["fee_returned_minor"]
    balances = await till.balances(shop.platform)
    assert balances == {
        "channel_receivable": -4_100,
        "merchant_pending": 8_151 - 1_000 + 500 - (4_100 - fee_back),
        "receiver_pending": 500,
        "platform_fee": fee - fee_back,
    }
    assert (fee_back, balances["merchant_pending"], sum(balances.values())) == (24, 3_575, 0)
    assert (await shop.platform.ledger.verify(now=shop.clock.now())).is_clean


async def test_partial_refunds_return_shares_exactly_and_the_last_one_all(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one, two = await bind(till), await bind(till)
    payment = await plain(till)
    await split(till, payment, "s1", share(one, 333), share(two, 667))
    returned = 0
    for number, amount in enumerate((1, 2_700, 2_699, 2_800), start=1):
        answer = (await refund(till, payment, f"r{number}", amount)).json()
        assert answer["state"] == "succeeded", answer
        returned += sum(each["amount_minor"] for each in answer["split_returns"])
        gone = sum((1, 2_700, 2_699, 2_800)[:number])
        assert returned == 1_000 * gone // 8_200
    assert await receivers(shop, till) == {}
    assert await till.balances(shop.platform) == {}
    assert (await read(till, payment))["amounts"]["split_minor"] == 0
    assert (await shop.events(till, payment["id"]))[-3:] == ["refund.created", "split.returned", "refund.succeeded"]


async def test_named_shares_come_back_and_no_others(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one, two = await bind(till), await bind(till)
    payment = await plain(till)
    made = (await split(till, payment, "s1", share(one, 1_000), share(two, 500))).json()
    too_much = [back(made["id"], one, 1_001)]
    problem = await refused(
        shop, refund(till, payment, "r1", 4_000, split_returns=too_much), "payments.split_return_exceeds"
    )
    assert "10.01" in problem["detail"]
    assert "10.00" in problem["detail"]
    both = [back(made["id"], one, 1_000), back(made["id"], two, 1)]
    problem = await refused(
        shop, refund(till, payment, "r1", 1_000, split_returns=both), "payments.split_return_exceeds"
    )
    assert "10.01" in problem["detail"]
    answer = (await refund(till, payment, "r1", 1_000, split_returns=[back(made["id"], one, 1_000)])).json()
    assert (answer["state"], answer["split_returns"]) == ("succeeded", [back(made["id"], one, 1_000)])
    assert await receivers(shop, till) == {two: 500}
    assert (await till.balances(shop.platform))["merchant_pending"] == 8_151 - 500 - (1_000 - 6)
    assert await shop.pending(till) == {}
    unsplit = await plain(till)
    await refused(shop, refund(till, unsplit, "r1", 10, split_returns=both), "payments.split_return_exceeds")


async def test_a_receiver_without_balance_refuses_unless_the_merchant_covers(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one = await bind(till)
    payment = await plain(till)
    await split(till, payment, "s1", share(one, 1_000))
    await settle(shop, till)
    await drained(shop, till, 700, role="receiver_available")
    problem = await refused(shop, refund(till, payment, "r1", 4_100), "payments.receiver_insufficient_balance")
    assert one in problem["detail"]
    assert "5.00" in problem["detail"]
    assert "3.00" in problem["detail"]
    answer = (await refund(till, payment, "r1", 4_100, merchant_covers_splits=True)).json()
    assert answer["state"] == "succeeded"
    assert [each["amount_minor"] for each in answer["split_returns"]] == [300]
    balances = await till.balances(shop.platform)
    assert balances["merchant_available"] == 7_151 + 300 - (4_100 - 24)
    assert "receiver_available" not in balances


@pytest.mark.parametrize("is_settled", [False, True])
async def test_a_failed_refund_gives_the_shares_again(shop: Shop, plain_seller: Till, is_settled: bool) -> None:
    till = plain_seller
    one, two = await bind(till), await bind(till)
    payment = await plain(till)
    made = (await split(till, payment, "s1", share(one, 1_000))).json()
    await split(till, payment, "s2", share(two, 400), is_frozen=True)
    if is_settled:
        await settle(shop, till)
    before = await till.balances(shop.platform)
    [sale] = [row for row in await shop.transactions(payment["id"]) if row["kind"] == "sale"]
    shop.acquirer.script("refund_failed", operation="refund", subject=sale["id"])
    answer = (await refund(till, payment, "r1", 4_100)).json()
    assert answer["state"] == "failed"
    assert sum(each["amount_minor"] for each in answer["split_returns"]) == 700
    assert await till.balances(shop.platform) == before
    assert await shop.pending(till) == {}
    shown = (await till.get(f"/splits/{made['id']}")).json()
    assert (shown["state"], shown["settled_minor"], shown["returned_minor"]) == ("settled", 1_000, 0)
    assert (await refund(till, payment, "r1", 4_100)).json()["state"] == "succeeded"
    assert await receivers(shop, till) == {one: 500}
    assert (await till.balances(shop.platform))["merchant_split_hold"] == 200


async def test_a_failed_refund_that_named_more_than_it_holds_gives_all_again(shop: Shop, plain_seller: Till) -> None:
    """The fee's part of the refund is the platform's: without a hold of its own it could be spent meanwhile."""
    till = plain_seller
    one = await bind(till)
    payment = await plain(till)
    made = (await split(till, payment, "s1", share(one, 2_000))).json()
    await drained(shop, till, 6_151)
    [sale] = [row for row in await shop.transactions(payment["id"]) if row["kind"] == "sale"]
    shop.acquirer.script("timeout_before_charge", operation="refund", subject=sale["id"])
    named = [back(made["id"], one, 2_000)]
    assert (await refund(till, payment, "r1", 2_000, split_returns=named)).json()["state"] == "unknown"
    assert await shop.pending(till) == {"merchant_pending": 2_000, "platform_fee": 12}
    shop.acquirer.script("refund_failed", operation="refund", subject=sale["id"])
    shop.later(minutes=1)
    await shop.work_for(till, rounds=2)
    assert (await till.get(f"/refunds/{(await refunds(till, payment))[0]['id']}")).json()["state"] == "failed"
    assert await receivers(shop, till) == {one: 2_000}
    assert await shop.pending(till) == {}


async def refunds(till: Till, payment: dict[str, Any]) -> list[dict[str, Any]]:
    return list((await read(till, payment, "refunds"))["refunds"])


async def test_a_cancel_brings_every_share_back(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one, two = await bind(till), await bind(till)
    payment = await plain(till)
    await split(till, payment, "s1", share(one, 1_000))
    await split(till, payment, "s2", share(two, 500), is_frozen=True)
    canceled = await act(till, payment, "cancel")
    assert canceled.json()["state"] == "canceled", canceled.text
    assert await till.balances(shop.platform) == {}
    assert canceled.json()["amounts"]["split_minor"] == 0


async def test_a_cancel_that_a_receiver_cannot_give_back_is_refused(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one = await bind(till)
    payment = await plain(till)
    await split(till, payment, "s1", share(one, 1_000))
    await drained(shop, till, 1, role="receiver_pending")
    await act(till, payment, "cancel")  # opens the empty accounts that it looks at
    await refused(shop, act(till, payment, "cancel"), "payments.receiver_insufficient_balance")
