"""Transfers through the writer, on a real database."""

from __future__ import annotations

import asyncio

import pytest

from platform_core.kernel.commit import Committer, Plan, PlanRefused, TenantViolation
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, GuardRefused, PendingGone, Post, Transfer, Void

pytestmark = pytest.mark.database


def merchant_account(role: str, guard: Guard = Guard.FREE, merchant_id: str = "mer_a") -> Account:
    return Account(merchant_id, "CNY", merchant_id, role, guard=guard)


BANK = merchant_account("channel_receivable")
PENDING = merchant_account("merchant_pending", Guard.GE0)


async def balances(database: Database, merchant_id: str = "mer_a") -> dict[str, tuple[int, int]]:
    async with database.read(merchant_id) as connection:
        rows = await connection.exec_driver_sql(
            "SELECT role, credits_posted - debits_posted, debits_pending FROM ledger_account"
        )
        return {role: (posted, pending) for role, posted, pending in rows}


async def test_transfer_moves_both_sides(committer: Committer, database: Database, ids: Ids) -> None:
    await committer.commit(Plan("mer_a", [Transfer(ids.mint("tra"), BANK, PENDING, 500, "capture", "txn_1")]))
    assert await balances(database) == {"channel_receivable": (-500, 0), "merchant_pending": (500, 0)}


async def test_overdraw_is_refused_alone(committer: Committer, database: Database, ids: Ids) -> None:
    fund = Plan("mer_a", [Transfer(ids.mint("tra"), BANK, PENDING, 500, "capture", "txn_1")])
    await committer.commit(fund)
    takes = [Plan("mer_a", [Transfer(ids.mint("tra"), PENDING, BANK, 200, "refund", f"txn_{n}")], n) for n in range(5)]
    outcomes = await asyncio.gather(*(committer.commit(plan) for plan in takes), return_exceptions=True)
    assert outcomes[:2] == [0, 1]
    refusals = [outcome.refusal for outcome in outcomes[2:] if isinstance(outcome, PlanRefused)]
    assert refusals == [GuardRefused("CNY:mer_a:merchant_pending", "merchant_pending", 100, 200)] * 3
    assert await balances(database) == {"channel_receivable": (-100, 0), "merchant_pending": (100, 0)}


async def test_pending_counts_against_the_guard_until_voided(
    committer: Committer, database: Database, ids: Ids
) -> None:
    await committer.commit(Plan("mer_a", [Transfer(ids.mint("tra"), BANK, PENDING, 500, "capture", "txn_1")]))
    hold = ids.mint("tra")
    await committer.commit(Plan("mer_a", [Transfer(hold, PENDING, BANK, 400, "refund", "txn_2", is_pending=True)]))
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(Plan("mer_a", [Transfer(ids.mint("tra"), PENDING, BANK, 101, "refund", "txn_3")]))
    assert caught.value.refusal == GuardRefused("CNY:mer_a:merchant_pending", "merchant_pending", 100, 101)
    await committer.commit(Plan("mer_a", [Void(ids.mint("tra"), hold)]))
    assert await balances(database) == {"channel_receivable": (-500, 0), "merchant_pending": (500, 0)}
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(Plan("mer_a", [Post(ids.mint("tra"), hold)]))
    assert caught.value.refusal == PendingGone(hold, "voided")


async def test_another_tenants_account_is_refused(committer: Committer, database: Database, ids: Ids) -> None:
    await committer.commit(Plan("mer_a", [Transfer(ids.mint("tra"), BANK, PENDING, 500, "capture", "txn_1")]))
    theirs = merchant_account("merchant_pending", Guard.GE0, "mer_b")
    plan = Plan("mer_b", [Transfer(ids.mint("tra"), PENDING, theirs, 500, "capture", "txn_1")])
    with pytest.raises(PlanRefused) as caught:
        await committer.commit(plan)
    assert caught.value.refusal == TenantViolation("CNY:mer_a:merchant_pending")
    assert await balances(database) == {"channel_receivable": (-500, 0), "merchant_pending": (500, 0)}
    assert await balances(database, "mer_b") == {"merchant_pending": (0, 0)}
