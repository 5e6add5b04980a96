"""Ledger = API = bill, at the end of random histories; and each way in which they could disagree is found."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from platform_core.bootstrap.upkeep import Upkeep
from platform_core.capabilities.payments.bills.models import Bill
from platform_core.kernel.commit.due import DueWork
from tests.capabilities.payments.bill_history import History, come_to_rest, live
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_bills import get, publish
from tests.capabilities.payments.test_sales import scan
from tests.support.world import Till

pytestmark = [pytest.mark.property, pytest.mark.database]


async def bills_of(shop: Shop, till: Till) -> list[Bill]:
    bills = shop.platform.payments.bills.all_published(merchant_id=till.merchant_id, day=None)
    return [bill async for bill in bills]


async def everything(till: Till, path: str) -> list[dict[str, Any]]:
    """All pages of a list."""
    found: list[dict[str, Any]] = []
    page = (await till.get(f"{path}?limit=100")).json()
    while True:
        found += page["data"]
        if page["next_cursor"] is None:
            return found
        page = (await till.get(f"{path}?limit=100&cursor={page['next_cursor']}")).json()


@pytest.mark.parametrize("seed", [1, 2])
async def test_bill_equals_ledger_equals_api(shop: Shop, seller: Till, seed: int) -> None:
    """payments.md section 10: sums over all days are those of the payments, closing balances those of /v1/balances."""
    history = History(shop, seller, random.Random(seed))
    await Upkeep(shop.platform).bills(DueWork("payments.bills", "platform", None, datetime.now(UTC), 0))
    await live(history, operations=60, hours=60)
    await Upkeep(shop.platform).bills(DueWork("payments.bills", "platform", None, datetime.now(UTC), 0))
    await come_to_rest(history, days=3)
    bills = await bills_of(shop, seller)
    assert len(bills) >= 3
    for bill in bills:
        report = await shop.platform.payments.bill_verifier.verify(bill)
        assert report.differences == (), history.done
    assert all(later.since == earlier.until for later, earlier in pairwise(bills))

    sums: Counter[str] = Counter()
    async for line in shop.platform.payments.bills.period(seller.merchant_id, first=bills[-1].day, last=bills[0].day):
        for name in ("customer_paid", "refund_amount", "fee", "net_amount"):
            sums[name] += int(Decimal(line[name]) * 100)
        if line["entry"] == "refund":  # a cancel found it paid and returned it: never the payment's, in both columns
            sums["undone"] += int(Decimal(line["customer_paid"]) * 100)
    payments = [payment["amounts"] for payment in await everything(seller, "/payments")]
    assert sums["customer_paid"] - sums["undone"] == sum(amounts["captured_minor"] for amounts in payments)
    assert sums["refund_amount"] - sums["undone"] == sum(amounts["refunded_minor"] for amounts in payments)
    assert sums["fee"] == sum(amounts["fee_minor"] for amounts in payments)
    assert sums["net_amount"] == sum(amounts["net_minor"] for amounts in payments)
    assert sums["customer_paid"] > 0
    held = sum(account["posted_minor"] for account in await everything(seller, "/balances") if _is_own(account))
    closing = sum(each["closing_minor"] for each in bills[0].figures[0]["balances"])
    assert held == closing == sums["net_amount"]


def _is_own(account: dict[str, Any]) -> bool:
    return str(account["role"]).startswith("merchant_")


TAMPERED = {
    "an amount of the ledger": (
        "UPDATE ledger_transfer SET amount = amount + 1 WHERE code = 'fee' AND merchant_id = $1",
        "ledger and bill: row 1, fee: expected 0.50, found 0.49",
    ),
    "a booking that is gone": (
        "DELETE FROM ledger_transfer WHERE merchant_id = $1",
        "ledger and bill: row 1: expected the bill's end, found",
    ),
    "a payment that says more": (
        "UPDATE pay_payment SET fee_minor = fee_minor + 1 WHERE merchant_id = $1",
        "fee_minor: expected 49, found 50",
    ),
    "a transaction that nobody booked": (
        "INSERT INTO pay_transaction SELECT (jsonb_populate_record(t, jsonb_build_object('id', 'txn_planted', "
        "'request_key', 'planted', 'provider_reference', 'planted'))).* "
        "FROM pay_transaction AS t WHERE merchant_id = $1",
        "ledger and API: txn_planted: expected a booking, found none",
    ),
    "a file": (
        "UPDATE pay_bill_part SET content = content || 'x' WHERE merchant_id = $1",
        "bill: SHA-256 of the archive",
    ),
}


@asynccontextmanager
async def restored(shop: Shop, seller: Till) -> AsyncIterator[None]:
    """The seller's rows are put back: other tests of this database look at all of it."""
    tables = ("ledger_transfer", "pay_payment", "pay_transaction")
    for table in tables:
        await shop.fetch(
            f"CREATE TABLE kept_{table} AS SELECT * FROM {table} WHERE merchant_id = $1", seller.merchant_id
        )
    try:
        yield
    finally:
        for table in tables:
            await shop.fetch(f"DELETE FROM {table} WHERE merchant_id = $1", seller.merchant_id)
            await shop.fetch(f"INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM kept_{table}")
            await shop.fetch(f"DROP TABLE kept_{table}")


@pytest.mark.parametrize("what", TAMPERED)
async def test_every_disagreement_is_named(shop: Shop, seller: Till, what: str) -> None:
    await scan(seller)
    await publish(shop, seller)
    [bill] = await bills_of(shop, seller)
    verifier = shop.platform.payments.bill_verifier
    assert (await verifier.verify(bill)).is_clean
    sql, expected = TAMPERED[what]
    async with restored(shop, seller):
        await shop.fetch(sql, seller.merchant_id)
        report = await verifier.verify(bill)
    assert any(expected in str(difference) for difference in report.differences), report.differences
    assert (await get(shop, seller, bill.day)).status_code == 200
