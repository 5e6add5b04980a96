"""Splits under a grant with limits: measured by amount and by receivers, and free again where nothing was split."""

from __future__ import annotations

import pytest

from platform_core.contracts.rar import Detail
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind, share, split
from tests.capabilities.payments.test_acts import refused
from tests.capabilities.payments.test_limits import day, exceeded, meters
from tests.capabilities.payments.test_sales import scan

pytestmark = [pytest.mark.api, pytest.mark.database]


async def test_a_split_takes_of_the_grants_limits_and_a_failed_one_nothing(shop: Shop) -> None:
    limits = [day(2_000), {"per": "day", "receivers": 4}]
    till = await shop.new_till(details=(Detail.model_validate({"type": "split_transfer", "limits": limits}),))
    payment, (one, two) = await scan(till), (await bind(till), await bind(till))
    shop.acquirer.script("decline_balance", operation="settle")
    assert (await split(till, payment, "s1", share(one, 500), share(two, 500))).json()["state"] == "failed"
    assert sorted((await meters(shop, till)).values()) == [(4, 0, 0), (2_000, 0, 0)]
    shop.acquirer.script("timeout_after_charge", operation="settle")
    assert (await split(till, payment, "s2", share(one, 900), share(two, 600))).json()["state"] == "unknown"
    assert sorted((await meters(shop, till)).values()) == [(2, 2, 0), (500, 1_500, 0)]
    shop.later(seconds=20)
    await shop.work_for(till)
    assert sorted((await meters(shop, till)).values()) == [(2, 0, 2), (500, 0, 1_500)]
    await exceeded(shop, split(till, payment, "s3", share(one, 501)))
    assert (await split(till, payment, "s4", share(one, 500))).json()["state"] == "settled"
    order = {"form": "customer_scan", "splits": [share(one, 1)]}
    await refused(shop, till.pay(**order), "payments.order_splits_metered", 403)
