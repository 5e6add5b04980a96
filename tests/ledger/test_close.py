"""A closed account gives nothing more; what is on its way ends as it would have."""

from __future__ import annotations

import pytest

from platform_core.kernel.commit import Committer, Plan, PlanRefused, TenantViolation
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.ledger.accounts import Account, AccountClosed, Close, Guard, Post, Transfer, Void
from platform_core.ledger.records import AccountKey
from platform_core.ledger.service import LedgerService

pytestmark = pytest.mark.database
MERCHANT = "mer_close"
SOURCE = Account(MERCHANT, "limit:CNY", MERCHANT, "source", guard=Guard.FREE)
METER = Account(MERCHANT, "limit:CNY", MERCHANT, "meter", guard=Guard.GE0)
USED = Account(MERCHANT, "limit:CNY", MERCHANT, "used", guard=Guard.GE0)


async def test_nothing_new_leaves_a_closed_account(committer: Committer, database: Database, ids: Ids) -> None:
    ledger = LedgerService(database, ids=ids)

    async def commit(*parts: object) -> None:
        await committer.commit(Plan(MERCHANT, list(parts)))

    def take(amount: int, id_: str | None = None, *, is_pending: bool = False) -> Transfer:
        return Transfer(id_ or ids.mint("tra"), METER, USED, amount, "x", "r", is_pending=is_pending)

    posted, voided = ids.mint("tra"), ids.mint("tra")
    await commit(
        Transfer(ids.mint("tra"), SOURCE, METER, 100, "x", "r"),
        take(30, posted, is_pending=True),
        take(20, voided, is_pending=True),
    )
    await commit(Close(METER))
    await commit(Close(METER))  # twice is once
    for parts in ([take(1)], [take(1, is_pending=True)], [Transfer(ids.mint("tra"), METER, SOURCE, 1, "x", "r")]):
        with pytest.raises(PlanRefused) as refused:
            await commit(*parts)
        assert refused.value.refusal == AccountClosed(f"limit:CNY:{MERCHANT}:meter", "meter")
    await commit(Post(ids.mint("tra"), posted), Void(ids.mint("tra"), voided))
    await commit(Transfer(ids.mint("tra"), USED, METER, 30, "back", "r"))
    record = await ledger.account(MERCHANT, AccountKey("limit:CNY", MERCHANT, "meter"))
    assert record is not None
    assert (record.posted, record.debits_pending) == (100, 0)
    assert (await ledger.verify(committer._clock.now())).is_clean


async def test_a_plan_may_close_what_it_has_just_filled_and_an_empty_account(
    committer: Committer, database: Database, ids: Ids
) -> None:
    fill = Transfer(ids.mint("tra"), SOURCE, METER, 5, "x", "r")
    await committer.commit(Plan(MERCHANT, [fill, Close(METER), Close(USED)]))
    for debit, credit in ((METER, USED), (USED, METER)):
        with pytest.raises(PlanRefused) as refused:
            await committer.commit(Plan(MERCHANT, [Transfer(ids.mint("tra"), debit, credit, 1, "x", "r")]))
        assert isinstance(refused.value.refusal, AccountClosed)


async def test_nobody_closes_another_tenants_account(committer: Committer, ids: Ids) -> None:
    await committer.commit(Plan(MERCHANT, [Transfer(ids.mint("tra"), SOURCE, METER, 5, "x", "r")]))
    for tenant in ("mer_thief", None):
        with pytest.raises(PlanRefused) as refused:
            await committer.commit(Plan(tenant, [Close(METER)]))
        assert isinstance(refused.value.refusal, TenantViolation)
    await committer.commit(Plan(MERCHANT, [Transfer(ids.mint("tra"), METER, USED, 5, "x", "r")]))


async def test_meters_stand_apart_from_what_a_merchant_owns(committer: Committer, database: Database, ids: Ids) -> None:
    await committer.commit(Plan(MERCHANT, [Transfer(ids.mint("tra"), SOURCE, METER, 5, "x", "r")]))
    ledger = LedgerService(database, ids=ids)
    assert await ledger.balances(MERCHANT) == []
    assert [record.role for record in await ledger.balances(MERCHANT, role="meter")] == ["meter"]
    assert len(await ledger.balances(MERCHANT, unit="limit:CNY")) == 2
