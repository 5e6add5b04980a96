"""Row 12 of payments.md section 4 on the books: debt, reserve and receivers; holidays; and what the document says."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from platform_core.kernel.commit import Plan, PlanRefused
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.capabilities.payments.settlement.money import (
    ZONE,
    books_of,
    earn,
    figures,
    give,
    mirror,
    move,
    owe,
    settle,
    settlements,
    today,
)
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refund
from tests.capabilities.payments.test_sales import scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def test_the_document_shows_what_became_of_the_day(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await scan(seller, order_minor=5_000)
    await refund(seller, payment, "r1", 4_100)
    [work] = [row for row in await shop.due_rows(seller) if row.kind == "payments.settle"]
    await settle(shop, seller, work)
    [shown] = await settlements(seller)
    # Fees 49 + 30; of the refund 4100 the merchant bears 4076, the platform 24 of its fee.
    assert figures(shown) == {
        "gross_minor": 13_200,
        "fees_minor": 79,
        "refunds_minor": 4_076,
        "moved_minor": 9_045,
        "net_minor": 9_045,
    }
    assert (await seller.get(f"/settlements/{shown['id']}")).json() == shown
    moved = await shop.fetch("SELECT sum(amount) FROM ledger_transfer WHERE reference = $1", shown["id"])
    assert moved[0][0] == shown["net_minor"]


async def test_money_held_for_an_open_refund_is_told_and_follows(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("silent", operation="refund", subject=sale["id"])
    shop.acquirer.script("timeout_before_charge", operation="query_refund")
    await refund(seller, payment, "r1", 4_100)
    [work] = [row for row in await shop.due_rows(seller) if row.kind == "payments.settle"]
    await settle(shop, seller, work)
    await shop.work_for(seller)
    shop.later(hours=1)
    await shop.work_for(seller)
    first, second = await settlements(seller)
    assert figures(first) == {
        "gross_minor": 8_200,
        "fees_minor": 49,
        "held_minor": 4_076,
        "moved_minor": 4_075,
        "net_minor": 4_075,
    }
    assert figures(second) == {"refunds_minor": 4_076, "held_minor": -4_076}
    assert [first["part"], second["part"]] == [1, 2]
    count = await shop.counts()
    await shop.platform.payments.settlement.settle(work)
    written = ("pay_settlement", "ledger_transfer", "outbox", "due")
    after = await shop.counts()
    assert [after[table] for table in written] == [count[table] for table in written]


async def test_debt_is_paid_off_first_then_the_reserve_is_kept(shop: Shop, seller: Till) -> None:
    await shop.platform.payments.settlement_admin.set_reserve(
        seller.merchant_id, currency="CNY", rate_bp=1_000, held_days=90
    )
    await owe(shop, seller, 700)
    await settle(shop, seller, await earn(shop, seller, 5_000))
    [shown] = await settlements(seller)
    assert figures(shown) == {
        "gross_minor": 5_000,
        "moved_minor": 5_000,
        "debt_minor": 700,
        "reserve_minor": 500,
        "net_minor": 3_800,
    }
    balances = await seller.balances(shop.platform)
    assert {role: balances[role] for role in ("merchant_available", "merchant_reserve")} == {
        "merchant_available": 3_800,
        "merchant_reserve": 500,
    }
    assert "merchant_debt" not in balances
    codes = await shop.fetch("SELECT code FROM ledger_transfer WHERE reference = $1 ORDER BY position", shown["id"])
    assert [row["code"] for row in codes] == ["settlement", "debt", "reserve"]


async def test_debt_larger_than_the_day_takes_it_whole_and_never_more_than_is_owed(shop: Shop, seller: Till) -> None:
    await owe(shop, seller, 7_000)
    await give(shop, seller, 900)
    await settle(shop, seller, await earn(shop, seller, 5_000))
    [shown] = await settlements(seller)
    assert (shown["debt_minor"], shown["net_minor"]) == (5_900, -900)
    balances = await seller.balances(shop.platform)
    assert (balances.get("merchant_available", 0), balances["merchant_debt"]) == (0, -1_100)


async def test_a_reserve_is_given_back_when_due_and_once(shop: Shop, seller: Till) -> None:
    admin = shop.platform.payments.settlement_admin
    await admin.set_reserve(seller.merchant_id, currency="CNY", rate_bp=1_000, held_days=2)
    await settle(shop, seller, await earn(shop, seller, 5_000))
    await admin.set_reserve(seller.merchant_id, currency="CNY", rate_bp=0, held_days=1)
    [due] = [row for row in await shop.due_rows(seller) if row.kind == "payments.reserve"]
    local = due.due_at.astimezone(ZoneInfo(ZONE))
    assert (local.date(), local.hour) == (today(shop) + timedelta(days=2), 2)
    shop.clock.advance(due.due_at - shop.clock.now())
    await owe(shop, seller, 120)
    assert await shop.work_for(seller) == 1
    balances = await seller.balances(shop.platform)
    assert balances["merchant_available"] == 5_000 - 120
    assert "merchant_reserve" not in balances
    await shop.platform.payments.settlement.release(due)
    assert await seller.balances(shop.platform) == balances
    assert await shop.due_rows(seller) == []


async def test_a_reserve_that_a_dispute_took_of_gives_back_what_is_left(shop: Shop, seller: Till) -> None:
    admin, books = shop.platform.payments.settlement_admin, books_of(shop, seller)
    await admin.set_reserve(seller.merchant_id, currency="CNY", rate_bp=1_000, held_days=1)
    await settle(shop, seller, await earn(shop, seller, 5_000))
    await move(shop, seller, books.reserve, mirror(seller), 180, "dispute")
    [due] = [row for row in await shop.due_rows(seller) if row.kind == "payments.reserve"]
    shop.clock.advance(due.due_at - shop.clock.now())
    await shop.work_for(seller)
    assert (await seller.balances(shop.platform))["merchant_available"] == 4_500 + 320
    [row] = await shop.fetch("SELECT * FROM pay_reserve WHERE merchant_id = $1", seller.merchant_id)
    assert (row["amount_minor"], row["released_minor"], row["released_at"]) == (500, 320, shop.clock.now())


async def test_receivers_money_of_the_day_becomes_theirs(shop: Shop, seller: Till) -> None:
    day = today(shop)
    work = await earn(shop, seller, 5_000)

    def share(bucket: str) -> Account:
        return Account(seller.merchant_id, "CNY", seller.merchant_id, "receiver_pending", bucket, Guard.GE0)

    pending = books_of(shop, seller).pending(day)
    await move(shop, seller, pending, share(f"rcv_a/{day}"), 600, "split")
    await move(shop, seller, pending, share(f"rcv_b/{day}"), 400, "split")
    await move(shop, seller, pending, share(f"rcv_a/{day + timedelta(days=1)}"), 50, "split")
    await settle(shop, seller, work)
    [shown] = await settlements(seller)
    assert figures(shown) == {
        "gross_minor": 5_000,
        "splits_minor": 1_050,
        "moved_minor": 3_950,
        "net_minor": 3_950,
        "receivers_minor": 1_000,
    }
    records = await shop.platform.ledger.balances(seller.merchant_id)
    stands = {(r.role, r.bucket): r.posted for r in records if r.role.startswith("receiver_") and r.posted}
    assert stands == {
        ("receiver_available", "rcv_a"): 600,
        ("receiver_available", "rcv_b"): 400,
        ("receiver_pending", f"rcv_a/{day + timedelta(days=1)}"): 50,
    }


async def test_nothing_is_settled_on_a_holiday(shop: Shop, seller: Till) -> None:
    admin = shop.platform.payments.settlement_admin
    work = await earn(shop, seller, 5_000)
    holiday = today(shop) + timedelta(days=1)
    await admin.add_holiday(holiday, name="Test day")
    try:
        shop.clock.advance(work.due_at - shop.clock.now())
        assert await shop.work_for(seller) == 1
        assert await settlements(seller) == []
        [due] = await shop.due_rows(seller)
        assert due.due_at == work.due_at + timedelta(days=1)
        shop.clock.advance(timedelta(days=1))
        assert await shop.work_for(seller) == 1
        assert [row["net_minor"] for row in await settlements(seller)] == [5_000]
    finally:
        await shop.owner.execute("DELETE FROM pay_settlement_holiday WHERE day = $1", holiday)


async def test_two_workers_settle_a_day_once(shop: Shop, seller: Till) -> None:
    work = await earn(shop, seller, 5_000)
    shop.clock.advance(work.due_at - shop.clock.now())
    service, committer = shop.platform.payments.settlement, shop.platform.committer
    commit = type(committer).commit
    raced: list[str] = []

    async def late(self: object, plan: Plan) -> object:
        """While the first worker's plan is on its way, another one settles."""
        if not raced:
            raced.append("once")
            await service.settle(work)
        return await commit(committer, plan)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(committer), "commit", late)
        await service.settle(work)
    assert raced == ["once"]
    assert [row["net_minor"] for row in await settlements(seller)] == [5_000]
    assert (await seller.balances(shop.platform))["merchant_available"] == 5_000


async def test_the_database_refuses_a_document_that_does_not_add_up(shop: Shop, seller: Till) -> None:
    await settle(shop, seller, await earn(shop, seller, 5_000))
    with pytest.raises(Exception, match="pay_settlement_check"):
        await shop.owner.execute(
            "UPDATE pay_settlement SET net_minor = net_minor + 1 WHERE merchant_id = $1", seller.merchant_id
        )


async def test_what_settlement_moves_it_moves_once_even_under_the_same_name(shop: Shop, seller: Till) -> None:
    work = await earn(shop, seller, 5_000)
    await settle(shop, seller, work)
    books = books_of(shop, seller)
    again = Transfer(f"settlement:{work.subject_id}:1", mirror(seller), books.available, 5_000, "settlement", "test")
    with pytest.raises(PlanRefused):
        await shop.platform.committer.commit(Plan(seller.merchant_id, [again]))
