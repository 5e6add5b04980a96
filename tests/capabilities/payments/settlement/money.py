"""Money on a merchant's accounts without a payment behind it, and the moment at which a day is settled."""

from __future__ import annotations

from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

from platform_core.capabilities.payments.draft import settle_due
from platform_core.capabilities.payments.settlement.books import MerchantBooks
from platform_core.kernel.commit import Plan
from platform_core.kernel.commit.due import DueWork
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

ZONE = "Asia/Shanghai"


def books_of(shop: Shop, till: Till, reference: str = "test") -> MerchantBooks:
    """The merchant's own accounts."""
    return MerchantBooks(till.merchant_id, "CNY", reference, shop.platform.ids)


def mirror(till: Till) -> Account:
    """Where the tests' money comes from and goes to."""
    return Account(till.merchant_id, "CNY", till.merchant_id, "bank", "tests", Guard.FREE)


async def move(shop: Shop, till: Till, debit: Account, credit: Account, amount: int, code: str = "test") -> None:
    """One transfer, as another part of payments would make it."""
    transfer = Transfer(shop.platform.ids.mint("tra"), debit, credit, amount, code, "test")
    await shop.platform.committer.commit(Plan(till.merchant_id, [transfer]))


async def owe(shop: Shop, till: Till, amount: int) -> None:
    """Let the merchant owe the platform so much."""
    await move(shop, till, books_of(shop, till).debt, mirror(till), amount, "dispute")


async def give(shop: Shop, till: Till, amount: int) -> None:
    """Let so much be available."""
    await move(shop, till, mirror(till), books_of(shop, till).available, amount, "refund_bounce")


def today(shop: Shop) -> date:
    """The merchant's calendar day."""
    return shop.clock.now().astimezone(ZoneInfo(ZONE)).date()


async def earn(shop: Shop, till: Till, amount: int) -> DueWork:
    """Let so much be captured today; returns the work that settles it."""
    await move(shop, till, mirror(till), books_of(shop, till).pending(today(shop)), amount, "capture")
    due = settle_due(till.merchant_id, "CNY", today(shop), ZONE)
    await shop.platform.committer.commit(Plan(till.merchant_id, [due]))
    return DueWork(due.kind, due.subject_id, till.merchant_id, due.due_at, 0)


async def settle(shop: Shop, till: Till, work: DueWork) -> None:
    """Go to the moment at which the work is due, and do it."""
    if work.due_at > shop.clock.now():
        shop.clock.advance(work.due_at - shop.clock.now())
    plan = await shop.platform.payments.settlement.settle(work)
    if plan is not None:
        await shop.platform.committer.commit(plan)


async def settlements(till: Till) -> list[dict[str, Any]]:
    """What the merchant reads, the oldest first."""
    answer = await till.get("/settlements")
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["data"]))


FIGURES = ("gross_minor", "fees_minor", "refunds_minor", "held_minor", "moved_minor", "debt_minor", "reserve_minor")


def figures(settlement: dict[str, Any], *more: str) -> dict[str, int]:
    """Those that are not 0."""
    names = (*FIGURES, "splits_minor", "withheld_minor", "receivers_minor", "net_minor", *more)
    return {name: settlement[name] for name in names if settlement[name]}
