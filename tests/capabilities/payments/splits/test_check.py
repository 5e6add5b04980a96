"""`arsenal ledger check`: it finds each column of splits that was planted wrong, and nothing in right books."""

from __future__ import annotations

import pytest

from platform_core.capabilities.payments.folds import check
from platform_core.capabilities.payments.splits.check import differences
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind, plain, share, split
from tests.capabilities.payments.test_acts import refund
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def test_every_wrong_column_is_found_and_nothing_else(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    payment = await plain(till)
    one = await bind(till)
    made = (await split(till, payment, "s1", share(one, 1_000))).json()
    await split(till, payment, "s2", share(one, 200), is_frozen=True)
    await refund(till, payment, "r1", 4_100)
    database = shop.platform.database
    assert await check(database, [differences]) == []
    planted = {
        "split_transfers": (
            "pay_split_share",
            "settled_minor = settled_minor - 1, returned_minor = returned_minor + 1",
        ),
        "split_sums": ("pay_split", "returned_minor = returned_minor + 1"),
        "payment_splits": ("pay_payment", "split_minor = split_minor + 1"),
    }
    for rule, (table, change) in planted.items():
        key = payment["id"] if table == "pay_payment" else made["id"]
        column = "split_id" if table == "pay_split_share" else "id"
        async with shop.owner_lock:
            await shop.owner.execute(f"UPDATE {table} SET {change} WHERE {column} = $1", key)
        found = await check(database, [differences])
        undo = change.replace("+ 1", "+ x").replace("- 1", "+ 1").replace("+ x", "- 1")
        async with shop.owner_lock:
            await shop.owner.execute(f"UPDATE {table} SET {undo} WHERE {column} = $1", key)
        assert rule in [each.rule for each in found], rule
        assert made["id"] in "".join(map(str, found)) or payment["id"] in "".join(map(str, found))
    assert await check(database, [differences]) == []
