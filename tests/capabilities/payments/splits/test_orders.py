"""`splits[]` of an order: made in the capture's plan or soon after it; what does not fit fails, never the payment."""

from __future__ import annotations

from typing import Any

import pytest

from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind, plain, receivers, share
from tests.capabilities.payments.test_acts import act, refused
from tests.capabilities.payments.test_sales import read, scan, show_qr
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def splits(till: Till, payment: dict[str, Any]) -> list[dict[str, Any]]:
    return list((await till.get(f"/payments/{payment['id']}/splits")).json()["data"])


async def test_the_capture_settles_what_the_order_wished_in_one_plan(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one, two = await bind(till), await bind(till)
    payment = await plain(till, splits=[share(one, 1_000), share(two, bp=1_000)])
    assert (payment["state"], payment["amounts"]["split_minor"]) == ("captured", 1_820)
    [made] = await splits(till, payment)
    assert (made["state"], made["mode"], made["settled_minor"]) == ("settled", "partial", 1_820)
    assert await receivers(shop, till) == {one: 1_000, two: 820}
    assert await shop.events(till, payment["id"]) == ["payment.created", "payment.captured", "split.settled"]
    [moment] = {
        row["created_at"]
        for row in await shop.fetch(
            "SELECT created_at FROM ledger_transfer WHERE merchant_id = $1 AND code IN ('capture', 'split')",
            till.merchant_id,
        )
    }
    assert moment is not None


async def test_what_does_not_fit_fails_and_the_payment_stands(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one, two = await bind(till), await bind(till)
    payment = await plain(till, splits=[share(one, 2_400), share(two, 61)])
    assert payment["state"] == "captured"
    [made] = await splits(till, payment)
    assert [(each["state"], (each["error"] or {}).get("code")) for each in made["shares"]] == [
        ("settled", None),
        ("failed", "payments.split_limit_exceeded"),
    ]
    assert await receivers(shop, till) == {one: 2_400}
    nothing = await plain(till, splits=[share(one, 2_461)])
    assert (nothing["state"], nothing["amounts"]["split_minor"]) == ("captured", 0)
    [failed] = await splits(till, nothing)
    assert (failed["state"], failed["amount_minor"]) == ("failed", 0)
    assert (await shop.events(till, nothing["id"]))[-1] == "split.failed"


async def test_a_wish_that_cannot_be_is_refused_with_the_order(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one = await bind(till)
    stranger = [share("rcv_" + "0" * 26, 1)]
    order = {"form": "customer_scan", "channel": "plain_acquirer"}
    await refused(shop, till.pay(**order, splits=stranger), "payments.receiver_not_bound")
    await refused(shop, till.pay(splits=[share(one, 1)]), "payments.split_needs_channel")
    without = await shop.new_till(scopes=tuple(scope for scope in SCOPES if scope != "splits:write"))
    await refused(shop, without.pay(**order, splits=[share(one, 1)]), "identity.scope_missing", 403)


async def test_a_receiver_unbound_before_the_payment_gets_nothing(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one = await bind(till)
    payment = await show_qr(till, channel="plain_acquirer", splits=[share(one, 1_000)])
    await till.client.delete(f"/v1/split-receivers/{one}", headers=till.headers())
    shop.acquirer.scan(payment["next_action"]["code"])
    shop.later(seconds=6)
    assert (await read(till, payment))["state"] == "captured"
    [made] = await splits(till, payment)
    assert (made["state"], made["shares"][0]["error"]["code"]) == ("failed", "payments.receiver_not_bound")
    assert await receivers(shop, till) == {}


async def test_captures_in_parts_are_split_with_the_last_one(shop: Shop, plain_seller: Till) -> None:
    till = plain_seller
    one = await bind(till)
    payment = await plain(till, is_capture=False, order_minor=10_000, splits=[share(one, bp=3_000)])
    await act(till, payment, "capture", out_request_no="c1", amount_minor=8_000, is_final=False)
    assert await splits(till, payment) == []
    last = await act(till, payment, "capture", out_request_no="c2", amount_minor=1_000)
    assert last.json()["state"] == "captured"
    assert await splits(till, payment) == []  # 2700 are more than this capture brings: a worker makes it
    assert await shop.work_for(till) == 1
    assert await receivers(shop, till) == {one: 2_700}
    assert [row.kind for row in await shop.due_rows(till)] == ["payments.settle"]


async def test_a_provider_with_its_say_is_told_after_the_capture(shop: Shop, seller: Till) -> None:
    one = await bind(seller)
    payment = await scan(seller, splits=[share(one, 1_000)])
    assert payment["state"] == "captured"
    assert await receivers(shop, seller) == {}
    await shop.work_for(seller)
    assert await receivers(shop, seller) == {one: 1_000}
    [made] = await splits(seller, payment)
    assert made["state"] == "settled"
    refused_one = await scan(seller, splits=[share(one, 9_000)])
    [failed] = await splits(seller, refused_one)
    assert (failed["state"], failed["shares"][0]["error"]["code"]) == ("failed", "payments.split_limit_exceeded")
