"""Refunds and a dispute of one payment at once, and what ends a payment for good."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import httpx
import pytest

from platform_core.kernel.commit.due import DueWork
from tests.capabilities.payments.disputes.test_disputes import disputed, step, the_one
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import act, refund, refused
from tests.capabilities.payments.test_sales import read, scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
MANY = 12


@pytest.mark.parametrize("round_", range(3))
async def test_refund_plus_dispute_stay_within_captured(
    shop: Shop, seller: Till, neighbour: httpx.AsyncClient, round_: int
) -> None:
    """juspay/hyperswitch PR 10533: twelve refunds in two processes while the acquirer tells one of a dispute."""
    payment = await scan(seller, order_minor=10_000)
    [sale] = await shop.transactions(payment["id"])
    await shop.deliver(seller)
    amount, references = 900 + round_, []
    other = Till(neighbour, seller.token, seller.merchant_id, seller.store_id, keys=seller.keys)

    async def dispute() -> None:
        for _ in range(40 * round_):
            await asyncio.sleep(0)
        references.append(shop.acquirer.dispute(sale["id"], 4_000))
        [notice] = [one for one in shop.acquirer.notices() if references[0].encode() in one.body]
        path = httpx.URL(notice.url).path
        told = await neighbour.post(path, content=notice.body, headers={"x-genuine": "yes"})
        assert (told.status_code, told.content) == (200, b"success")

    begun = asyncio.create_task(dispute())
    refunds = await asyncio.gather(*(refund(seller if n % 2 else other, payment, f"r{n}", amount) for n in range(MANY)))
    await begun
    [reference] = references
    refunded = amount * sum(one.status_code == 201 and one.json()["state"] == "succeeded" for one in refunds)
    codes = {answer.json()["code"] for answer in refunds if answer.status_code != 201}
    assert codes <= {"payments.refund_exceeds_refundable", "payments.refund_insufficient_balance", "payments.busy"}
    amounts = (await read(seller, payment))["amounts"]
    assert amounts["refunded_minor"] == refunded
    found = await the_one(seller, payment)
    assert amounts["disputed_minor"] == found["held_minor"]
    assert refunded + amounts["disputed_minor"] <= 10_000
    assert amounts["refundable_minor"] == 10_000 - refunded - amounts["disputed_minor"]
    # What the acquirer refused or never heard of is the dispute's as soon as it is spoken of again.
    await step(shop, seller, reference, "lost")
    lost = await the_one(seller, payment)
    assert (lost["held_minor"], lost["amount_minor"]) == (4_000, 4_000)
    assert -(await seller.balances(shop.platform))["channel_receivable"] == 10_000 - refunded - 4_000


async def finish(shop: Shop, till: Till) -> list[DueWork]:
    """Do what ends payments now; returns what is left of it."""
    sql = "SELECT kind, subject_id, merchant_id, due_at, tries FROM due WHERE merchant_id = $1 AND kind = $2"
    for row in await shop.fetch(sql, till.merchant_id, "payments.finish"):
        work = DueWork(*row)
        if work.due_at <= shop.clock.now():
            plan = await shop.platform.payments.finishing.finish(work)
            assert plan is not None
            await shop.platform.committer.commit(plan)
    return [DueWork(*row) for row in await shop.fetch(sql, till.merchant_id, "payments.finish")]


async def test_payment_is_finished_a_year_after_its_last_capture(shop: Shop, seller: Till) -> None:
    payment, cash = await scan(seller), (await seller.pay()).json()
    frozen = await scan(seller, is_capture=False)
    captured_at = shop.clock.now()
    assert (await finish(shop, seller))[0].due_at > captured_at + timedelta(days=365)
    shop.later(days=365, seconds=-1)
    assert (await refund(seller, cash, "early", 1)).status_code == 201
    shop.later(seconds=2)
    await refused(shop, refund(seller, payment, "late", 1), "payments.refund_window_over")
    shop.later(days=2)
    assert await finish(shop, seller) == []
    for each in (payment, cash):
        assert (await read(seller, each))["state"] == "finished"
        assert (await shop.events(seller, each["id"]))[-1] == "payment.finished"
        problem = await refused(shop, refund(seller, each, "later", 1), "payments.refund_window_over")
        assert captured_at.date().isoformat() in problem["detail"]
        await refused(shop, act(seller, each, "cancel"), "payments.cancel_window_over")
    assert (await read(seller, frozen))["state"] == "authorized"


async def test_payment_with_money_under_way_is_not_finished_yet(shop: Shop, seller: Till) -> None:
    payment, other = await scan(seller), await scan(seller)
    shop.later(days=366, hours=4)
    reference = await disputed(shop, seller, payment, 5_000)
    [left] = await finish(shop, seller)
    assert left.due_at == shop.clock.now() + timedelta(days=1)
    assert date.fromisoformat(left.subject_id.split("/")[1])
    assert [(await read(seller, each))["state"] for each in (payment, other)] == ["captured", "finished"]
    await step(shop, seller, reference, "lost")
    shop.later(days=1)
    assert await finish(shop, seller) == []
    assert (await read(seller, payment))["state"] == "finished"


async def test_dispute_of_a_finished_payment_moves_money_and_not_its_state(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    shop.later(days=367)
    assert await finish(shop, seller) == []
    reference = await disputed(shop, seller, payment, 5_000)
    await step(shop, seller, reference, "lost")
    shown = await read(seller, payment)
    assert (shown["state"], shown["amounts"]["disputed_minor"]) == ("finished", 5_000)
    assert (await seller.balances(shop.platform))["channel_receivable"] == -3_200
