"""A reading in a plan: what an account could still give once the plan is in."""

from __future__ import annotations

import asyncio

import pytest

from platform_core.kernel.commit import Committer, Plan, PlanRefused, TenantViolation
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, Guard, Reading, Transfer

pytestmark = pytest.mark.database
BANK = Account("mer_a", "CNY", "mer_a", "channel_receivable")
PURSE = Account("mer_a", "CNY", "mer_a", "purse", guard=Guard.GE0)


def moved(ids: Ids, amount: int, *, is_in: bool = False, is_pending: bool = False) -> Transfer:
    sides = (BANK, PURSE) if is_in else (PURSE, BANK)
    return Transfer(ids.mint("tra"), *sides, amount, "test", "x", is_pending=is_pending)


async def test_plans_of_one_batch_read_what_each_of_them_left(committer: Committer, ids: Ids) -> None:
    await committer.commit(Plan("mer_a", [moved(ids, 100, is_in=True)]))
    readings = [Reading(PURSE) for _ in range(4)]
    plans = [Plan("mer_a", [moved(ids, 30, is_pending=n == 1), reading]) for n, reading in enumerate(readings)]
    outcomes = await asyncio.gather(*map(committer.commit, plans), return_exceptions=True)
    assert [type(outcome).__name__ for outcome in outcomes] == ["NoneType"] * 3 + ["PlanRefused"]
    assert [reading.left for reading in readings] == [70, 40, 10, None]


async def test_a_reading_alone_reads_and_an_account_without_a_floor_has_no_bound(
    committer: Committer, ids: Ids
) -> None:
    await committer.commit(Plan("mer_a", [moved(ids, 100, is_in=True)]))
    purse, bank = Reading(PURSE), Reading(BANK)
    await committer.commit(Plan("mer_a", [purse, bank]))
    assert (purse.left, bank.left) == (100, None)


async def test_nobody_reads_another_tenants_account(committer: Committer, ids: Ids) -> None:
    await committer.commit(Plan("mer_a", [moved(ids, 100, is_in=True)]))
    reading = Reading(PURSE)
    with pytest.raises(PlanRefused) as refused:
        await committer.commit(Plan("mer_b", [reading]))
    assert isinstance(refused.value.refusal, TenantViolation)
    assert reading.left is None
