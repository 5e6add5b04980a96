"""P15 and P7 for settlement: repeated and crashed settlements move each day's money once, and say what they moved."""

from __future__ import annotations

import contextlib
import random
from datetime import timedelta
from typing import Any

import pytest

from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.settlement.money import books_of, earn, give, mirror, move, owe, settlements, today
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database, pytest.mark.property]


async def crashing(shop: Shop, work: DueWork, *, is_late: bool) -> None:
    """A worker that dies just before its plan is committed, or just after."""
    committer = shop.platform.committer
    commit = type(committer).commit

    async def dies(self: Any, plan: Plan) -> object:
        if is_late:
            await commit(committer, plan)
        raise Crash

    with pytest.MonkeyPatch.context() as patch, contextlib.suppress(Crash):
        patch.setattr(type(committer), "commit", dies)
        await shop.platform.payments.settlement.settle(work)


@pytest.mark.parametrize("is_late", [False, True])
async def test_a_crash_beside_the_commit_settles_once(shop: Shop, seller: Till, is_late: bool) -> None:
    work = await earn(shop, seller, 5_000)
    await owe(shop, seller, 300)
    shop.clock.advance(work.due_at - shop.clock.now())
    await crashing(shop, work, is_late=is_late)
    assert len(await settlements(seller)) == int(is_late)
    await shop.work_for(seller)
    await shop.platform.payments.settlement.settle(work)
    assert [row["net_minor"] for row in await settlements(seller)] == [4_700]
    assert (await seller.balances(shop.platform))["merchant_available"] == 4_700


async def test_random_days_add_up_on_the_documents_and_on_the_ledger(shop: Shop, seller: Till) -> None:
    chance = random.Random(20261122)
    admin, books = shop.platform.payments.settlement_admin, books_of(shop, seller)
    settle = shop.platform.payments.settlement.settle
    for _ in range(12):
        day = today(shop)
        if chance.random() < 0.4:
            rate = chance.randint(0, 3_000)
            await admin.set_reserve(seller.merchant_id, currency="CNY", rate_bp=rate, held_days=chance.randint(1, 4))
        work = await earn(shop, seller, gross := chance.randint(100, 9_999))
        if chance.random() < 0.5:
            await move(shop, seller, books.pending(day), mirror(seller), chance.randint(1, gross // 2), "refund")
        if chance.random() < 0.3:
            await owe(shop, seller, chance.randint(1, 12_000))
        if chance.random() < 0.2:
            await give(shop, seller, chance.randint(1, 500))
        shop.clock.advance(work.due_at - shop.clock.now() + timedelta(minutes=1))
        for _ in range(chance.randint(0, 2)):
            await crashing(shop, work, is_late=chance.random() < 0.5)
        await shop.work_for(seller)
        await settle(work)
    rows = await settlements(seller)
    assert len(rows) == 12
    for row in rows:
        moved = await shop.fetch(
            "SELECT sum(CASE WHEN c.role = 'merchant_available' THEN amount ELSE 0 END)"
            " - sum(CASE WHEN d.role = 'merchant_available' THEN amount ELSE 0 END) AS net FROM ledger_transfer AS t"
            " JOIN ledger_account AS d ON d.id = t.debit_account JOIN ledger_account AS c ON c.id = t.credit_account"
            " WHERE t.reference = $1 AND t.code IN ('settlement', 'debt', 'reserve', 'withhold')"
            " AND t.created_at = (SELECT min(created_at) FROM ledger_transfer WHERE reference = $1)",
            row["id"],
        )
        assert moved[0]["net"] == row["net_minor"], row
    stands = await shop.fetch(
        "SELECT sum(credits_posted - debits_posted) FROM ledger_account WHERE merchant_id = $1 "
        "AND role = 'merchant_pending'",
        seller.merchant_id,
    )
    assert stands[0][0] == 0
    kept = await shop.fetch(
        "SELECT sum(amount_minor) FROM pay_reserve WHERE merchant_id = $1 AND released_at IS NULL", seller.merchant_id
    )
    balances = await seller.balances(shop.platform)
    assert balances.get("merchant_reserve", 0) == (kept[0][0] or 0)
    assert (await shop.platform.ledger.verify(now=shop.clock.now())).is_clean
