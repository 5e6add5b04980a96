"""The operator's side: holidays, reserves, and what acquirers paid (row 13)."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta

import pytest

from platform_core.kernel.errors import PlatformError
from platform_core.kernel.money import Money
from tests.capabilities.payments.settlement.money import today
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_sales import scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


def cny(amount: int) -> Money:
    return Money(amount, "CNY")


async def code_of(act: Awaitable[object]) -> str:
    with pytest.raises(PlatformError) as refused:
        await act
    return refused.value.declared.code


async def test_what_an_acquirer_paid_is_booked_once(shop: Shop, seller: Till) -> None:
    await scan(seller, order_minor=10_000)
    admin, account = shop.platform.payments.settlement_admin, seller.channel_account_id
    booked = await admin.book_acquirer_payout(account, gross=cny(10_000), cost=cny(38), reference="B1", by="terminal:a")
    records = {(r.role, r.bucket): r.posted for r in await shop.platform.ledger.balances(seller.merchant_id)}
    assert records["bank", account] == -9_962
    assert records["channel_cost", ""] == -38
    assert records["channel_receivable", account] == 0
    count = await shop.counts()
    again = await admin.book_acquirer_payout(account, gross=cny(10_000), cost=cny(38), reference="B1")
    assert again.id == booked.id
    other = admin.book_acquirer_payout(account, gross=cny(10_000), cost=cny(39), reference="B1")
    assert await code_of(other) == "payments.acquirer_payout_taken"
    assert await shop.counts() == count
    codes = await shop.fetch("SELECT code, amount FROM ledger_transfer WHERE reference = $1 ORDER BY code", booked.id)
    assert [tuple(row) for row in codes] == [("acquirer_cost", 38), ("acquirer_payout", 9_962)]
    told = await shop.fetch(
        "SELECT actor FROM audit_row WHERE kind = 'acquirer_payout.booked' AND subject = $1", booked.id
    )
    assert [row["actor"] for row in told] == ["terminal:a"]


async def test_figures_that_cannot_be_book_nothing(shop: Shop, seller: Till) -> None:
    admin, account, count = shop.platform.payments.settlement_admin, seller.channel_account_id, await shop.counts()
    for gross, cost, reference in ((0, 0, "B"), (5, 6, "B"), (5, -1, "B"), (5, 1, ""), (5, 1, "a b")):
        act = admin.book_acquirer_payout(account, gross=cny(gross), cost=cny(cost), reference=reference)
        assert await code_of(act) == "payments.acquirer_payout_invalid"
    nowhere = admin.book_acquirer_payout("cha_none", gross=cny(5), cost=cny(1), reference="B")
    assert await code_of(nowhere) == "payments.not_found"
    assert await shop.counts() == count


async def test_an_acquirer_that_keeps_all_or_nothing(shop: Shop, seller: Till) -> None:
    admin, account = shop.platform.payments.settlement_admin, seller.channel_account_id
    await admin.book_acquirer_payout(account, gross=cny(70), cost=cny(70), reference="all")
    await admin.book_acquirer_payout(account, gross=cny(30), cost=cny(0), reference="nothing")
    balances = await seller.balances(shop.platform)
    assert balances == {"bank": -30, "channel_cost": -70, "channel_receivable": 100}


async def test_holidays_are_of_days_to_come_and_stand_once(shop: Shop) -> None:
    admin, day = shop.platform.payments.settlement_admin, today(shop) + timedelta(days=300)
    await admin.add_holiday(day, name="Spring", by="terminal:a")
    assert (day, "Spring") in [(row.day, row.name) for row in await admin.holidays()]
    count = await shop.counts()
    assert await code_of(admin.add_holiday(day, name="Again")) == "payments.holiday_exists"
    assert await code_of(admin.add_holiday(today(shop), name="Now")) == "payments.holiday_past"
    assert await code_of(admin.remove_holiday(today(shop))) == "payments.holiday_past"
    assert await code_of(admin.remove_holiday(day + timedelta(days=1))) == "payments.holiday_missing"
    assert await shop.counts() == count
    await admin.remove_holiday(day, by="terminal:b")
    assert day not in [row.day for row in await admin.holidays()]
    kinds = await shop.fetch("SELECT kind, actor FROM audit_row WHERE subject = $1 ORDER BY position", day.isoformat())
    assert [tuple(row) for row in kinds] == [
        ("settlement_holiday.added", "terminal:a"),
        ("settlement_holiday.removed", "terminal:b"),
    ]


async def test_a_reserve_out_of_bounds_is_refused(shop: Shop, seller: Till) -> None:
    admin, count = shop.platform.payments.settlement_admin, await shop.counts()
    for rate_bp, days in ((-1, 1), (10_001, 1), (100, 0), (100, 1_001)):
        act = admin.set_reserve(seller.merchant_id, currency="CNY", rate_bp=rate_bp, held_days=days)
        assert await code_of(act) == "payments.reserve_terms_invalid"
    assert await shop.counts() == count
    plan = await admin.set_reserve(seller.merchant_id, currency="CNY", rate_bp=100, held_days=30)
    told = await shop.fetch("SELECT kind FROM audit_row WHERE subject = $1", plan)
    assert [row["kind"] for row in told] == ["reserve_plan.set"]
