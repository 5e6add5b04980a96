"""T+1 at 02:00 of the merchant's day, routing by the merchant's rules, and who may take money at all."""

from __future__ import annotations

from datetime import time, timedelta
from zoneinfo import ZoneInfo

import pytest

from platform_core.kernel.commit import Plan
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refund, refused
from tests.capabilities.payments.test_sales import read, scan, show_qr
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
ZONE = ZoneInfo("Asia/Shanghai")


async def settle(shop: Shop, till: Till) -> None:
    """Go to the next 02:00 of the merchant's day and do what is due."""
    rows = [row for row in await shop.due_rows(till) if row.kind == "payments.settle"]
    if rows and rows[0].due_at > shop.clock.now():
        shop.clock.advance(rows[0].due_at - shop.clock.now())
    await shop.work_for(till)


async def test_day_is_settled_at_two_of_the_next_one_and_once(shop: Shop, seller: Till) -> None:
    await scan(seller)
    [due] = await shop.due_rows(seller)
    local = due.due_at.astimezone(ZONE)
    today = shop.clock.now().astimezone(ZONE).date()
    assert (local.date(), local.time()) == (today + timedelta(days=1), time(2))
    shop.clock.advance(due.due_at - shop.clock.now() - timedelta(seconds=1))
    assert await shop.work_for(seller) == 0
    shop.later(seconds=1)
    assert await shop.work_for(seller) == 1
    settled = {"channel_receivable": -8_200, "merchant_available": 8_151, "platform_fee": 49}
    assert await seller.balances(shop.platform) == settled
    await shop.platform.payments.settlement.settle(due)
    assert await seller.balances(shop.platform) == settled
    page = (await seller.get("/settlements")).json()["data"]
    assert [(row["part"], row["net_minor"], row["day"]) for row in page] == [(1, 8_151, str(today))]
    assert (await seller.get(f"/settlements/{page[0]['id']}")).json() == page[0]
    assert [row["type"] for row in await shop.fetch("SELECT type FROM outbox WHERE object_id = $1", page[0]["id"])] == [
        "settlement.completed"
    ]
    assert await shop.due_rows(seller) == []


async def test_refund_after_settlement_comes_out_of_what_is_available(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await settle(shop, seller)
    assert (await refund(seller, payment, "r1")).json()["state"] == "succeeded"
    assert await seller.balances(shop.platform) == {}


async def test_refund_that_the_merchant_cannot_carry_is_refused_before_the_call(shop: Shop, seller: Till) -> None:
    first = await scan(seller)
    bounced = await scan(seller, order_minor=5_000)
    await settle(shop, seller)
    # Somebody else has taken the money out of the merchant's balance meanwhile: a payout.
    available = Account(seller.merchant_id, "CNY", seller.merchant_id, "merchant_available", "", Guard.GE0)
    bank = Account(seller.merchant_id, "CNY", seller.merchant_id, "bank", "test", Guard.FREE)
    out = Transfer(f"payout:{seller.merchant_id}", available, bank, 13_000, "payout", "test")
    await shop.platform.committer.commit(Plan(seller.merchant_id, [out]))
    problem = await refused(shop, refund(seller, first, "r1"), "payments.refund_insufficient_balance")
    assert "81.51" in problem["detail"]
    assert "1.21" in problem["detail"]
    assert (await read(seller, bounced))["amounts"]["refunded_minor"] == 0


async def test_leftover_of_an_open_refund_is_settled_when_it_is_free(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("silent", operation="refund", subject=sale["id"])
    shop.acquirer.script("timeout_before_charge", operation="query_refund")
    await refund(seller, payment, "r1", 4_100)
    [settling] = [row for row in await shop.due_rows(seller) if row.kind == "payments.settle"]
    shop.clock.advance(settling.due_at - shop.clock.now())
    await shop.platform.payments.settlement.settle(settling)
    # 4076 are held for the refund; what is free of the day's money is available.
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_available": 4_075,
        "merchant_pending": 4_076,
        "platform_fee": 49,
    }
    assert await shop.pending(seller) == {"merchant_pending": 4_076, "platform_fee": 24}
    await shop.work_for(seller)
    shop.later(hours=1)
    await shop.work_for(seller)
    balances = await seller.balances(shop.platform)
    assert balances == {"channel_receivable": -4_100, "merchant_available": 4_075, "platform_fee": 25}
    assert [row for row in await shop.due_rows(seller) if row.kind == "payments.settle"] == []


async def test_rules_route_by_amount_form_store_order_and_wish(shop: Shop, seller: Till) -> None:
    second = await shop.add_second(seller)
    setup, first = shop.platform.payment_setup, seller.channel_account_id
    await setup.add_routing_rule(seller.merchant_id, position=1, amount_minor_min=100_000, channel_account_ids=[second])
    await setup.add_routing_rule(
        seller.merchant_id,
        position=2,
        form="customer_scan",
        store_id=seller.store_id,
        channel_account_ids=[second, first],
    )
    await setup.add_routing_rule(seller.merchant_id, position=3, channel_account_ids=[first, second])
    shop.later(seconds=2)

    async def taken_by(**fields: object) -> str:
        shown = await read(seller, await show_qr(seller, **fields), "attempts")
        return str(shown["attempts"][0]["channel_account_id"])

    assert await taken_by() == first
    assert await taken_by(order_minor=99_999) == first
    assert await taken_by(order_minor=100_000) == second
    assert await taken_by(store_id=seller.store_id) == second
    assert await taken_by(store_id=seller.store_id, channel="simulated_acquirer") == first
    assert await taken_by(channel="second_acquirer") == second


async def test_provider_settings_change_without_restart(shop: Shop, seller: Till) -> None:
    assert (await seller.pay(form="customer_scan")).status_code == 201
    cash_only = [account for account in await _accounts(shop, seller) if account != seller.channel_account_id]
    await shop.platform.payment_setup.add_routing_rule(seller.merchant_id, position=1, channel_account_ids=cash_only)
    await shop.platform.feed.poll()  # every process does so four times a second
    await refused(shop, seller.pay(form="customer_scan"), "payments.no_route")
    assert (await seller.pay()).json()["state"] == "captured"


async def test_terms_change_when_their_time_comes_without_any_news(shop: Shop, seller: Till) -> None:
    assert (await seller.pay(form="customer_scan")).status_code == 201
    cash_only = [account for account in await _accounts(shop, seller) if account != seller.channel_account_id]
    begins, ends = shop.clock.now() + timedelta(hours=1), shop.clock.now() + timedelta(hours=2)
    await shop.platform.payment_setup.add_routing_rule(
        seller.merchant_id, position=1, channel_account_ids=cash_only, valid_from=begins, valid_until=ends
    )
    await shop.platform.feed.poll()
    assert (await seller.pay(form="customer_scan")).status_code == 201
    shop.later(hours=1)
    await refused(shop, seller.pay(form="customer_scan"), "payments.no_route")
    shop.later(hours=1)
    assert (await seller.pay(form="customer_scan")).status_code == 201


async def _accounts(shop: Shop, till: Till) -> list[str]:
    rows = await shop.fetch("SELECT id FROM pay_channel_account WHERE merchant_id = $1", till.merchant_id)
    return [row["id"] for row in rows]


async def test_no_route_says_what_is_missing(shop: Shop, seller: Till) -> None:
    problem = await refused(shop, seller.pay(form="merchant_scan"), "payments.no_route")
    assert "auth_code" in problem["detail"]
    await refused(shop, seller.pay(currency="USD"), "payments.no_route")


async def test_worked_example_without_benefits_balances(shop: Shop, seller: Till) -> None:
    """payments.md section 4, its order without coupons, points and split: 8200 paid, 4100 returned, 60 bp."""
    payment = await scan(seller)
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_pending": 8_151,
        "platform_fee": 49,
    }
    await refund(seller, payment, "half", 4_100)
    balances = await seller.balances(shop.platform)
    assert balances == {"channel_receivable": -4_100, "merchant_pending": 4_075, "platform_fee": 25}
    assert sum(balances.values()) == 0
    report = await shop.platform.ledger.verify(now=shop.clock.now())
    assert report.is_clean, report
