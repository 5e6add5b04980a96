"""Splits at a provider that has its say: two commits around its call, and unknown until it speaks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.splits.scene import bind, receivers, share, split
from tests.capabilities.payments.test_acts import act, refund, refused
from tests.capabilities.payments.test_sales import read, scan
from tests.capabilities.payments.test_settlement import settle
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def told(shop: Shop, payment: dict[str, Any]) -> list[tuple[str, str, int]]:
    """Kind, state and amount of what the provider was asked beyond the sale."""
    rows = await shop.transactions(payment["id"])
    return [(row["kind"], row["state"], row["amount_minor"]) for row in rows if row["kind"] == "settle"]


async def test_the_provider_is_told_and_the_shares_move_when_it_did_it(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    one, two = await bind(seller), await bind(seller)
    answer = await split(seller, payment, "s1", share(one, 1_000), share(two, 200))
    assert (answer.status_code, answer.json()["state"]) == (201, "settled"), answer.text
    assert await told(shop, payment) == [("settle", "succeeded", 1_200)]
    assert await receivers(shop, seller) == {one: 1_000, two: 200}
    assert await shop.pending(seller) == {}
    [settled] = [row for row in await shop.transactions(payment["id"]) if row["kind"] == "settle"]
    assert shop.acquirer.moved("settle")[settled["id"]] == 1
    await settle(shop, seller)
    shop.later(hours=2)
    await shop.work_for(seller, rounds=2)
    assert await shop.due_rows(seller) == []
    assert (await seller.balances(shop.platform))["receiver_available"] == 1_200


async def test_a_refusal_of_the_provider_fails_the_split_and_frees_the_money(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    one = await bind(seller)
    shop.acquirer.script("decline_balance", operation="settle")
    made = (await split(seller, payment, "s1", share(one, 1_000))).json()
    assert (made["state"], made["amount_minor"], made["last_error"]["class"]) == ("failed", 0, "declined_final")
    assert made["shares"][0]["error"]["code"] == made["last_error"]["code"]
    assert await receivers(shop, seller) == {}
    assert await shop.pending(seller) == {}
    assert (await read(seller, payment))["amounts"]["split_minor"] == 0
    assert (await shop.events(seller, payment["id"]))[2:] == ["split.failed"]
    assert (await split(seller, payment, "s2", share(one, 2_460))).json()["state"] == "settled"


async def test_no_answer_is_unknown_and_the_janitor_brings_the_providers_word(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    one = await bind(seller)
    shop.acquirer.script("timeout_after_charge", operation="settle")
    made = (await split(seller, payment, "s1", share(one, 1_000))).json()
    assert (made["state"], made["shares"][0]["state"]) == ("unknown", "unknown")
    assert await shop.pending(seller) == {"merchant_pending": 1_000}
    assert await receivers(shop, seller) == {}
    await refused(shop, act(seller, payment, "cancel"), "payments.outcome_unknown")
    over = split(seller, payment, "s2", share(one, 1_461))
    await refused(shop, over, "payments.split_limit_exceeded")
    [due] = [row for row in await shop.due_rows(seller) if row.kind == "payments.ask"]
    shop.clock.advance(due.due_at - shop.clock.now())
    await shop.work_for(seller)
    shown = (await seller.get(f"/splits/{made['id']}")).json()
    assert (shown["state"], shown["settled_minor"], shown["last_error"]) == ("settled", 1_000, None)
    assert await receivers(shop, seller) == {one: 1_000}
    assert (await shop.events(seller, payment["id"]))[2:] == ["split.settled"]


async def test_a_crash_before_or_after_the_call_settles_once(shop: Shop, seller: Till) -> None:
    one = await bind(seller)

    async def die() -> None:
        raise Crash

    for place in (shop.acquirer.before, shop.acquirer.after):
        payment = await scan(seller)
        place["settle"] = die
        with pytest.raises(Crash):
            await split(seller, payment, "s1", share(one, 700))
        [row] = (await seller.get(f"/payments/{payment['id']}/splits")).json()["data"]
        assert row["state"] == "pending"
        shop.later(seconds=6)
        shown = (await seller.get(f"/splits/{row['id']}")).json()  # a read asks
        assert shown["state"] == "settled"
        [settled] = [row for row in await shop.transactions(payment["id"]) if row["kind"] == "settle"]
        assert shop.acquirer.moved("settle")[settled["id"]] == 1
    assert await receivers(shop, seller) == {one: 1_400}


async def test_shares_in_doubt_stay_out_of_a_refund(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    one, two = await bind(seller), await bind(seller)
    await split(seller, payment, "s1", share(one, 1_000))
    shop.acquirer.script("timeout_after_charge", operation="settle")
    await split(seller, payment, "s2", share(two, 400))
    answer = (await refund(seller, payment, "r1", 4_100)).json()
    assert [(each["receiver_id"], each["amount_minor"]) for each in answer["split_returns"]] == [(one, 500)]
    shop.later(seconds=20)
    await shop.work_for(seller)
    assert await receivers(shop, seller) == {one: 500, two: 400}
    last = (await refund(seller, payment, "r2")).json()
    assert last["state"] == "succeeded", last
    assert await receivers(shop, seller) == {}
    assert await seller.balances(shop.platform) == {}


async def test_a_release_is_told_too_and_a_refused_one_leaves_the_shares_frozen(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    one, two = await bind(seller), await bind(seller)
    made = (await split(seller, payment, "s1", share(one, 1_000), share(two, 300), is_frozen=True)).json()
    assert await told(shop, payment) == []
    path = f"/splits/{made['id']}/release"
    shop.acquirer.script("decline_balance", operation="settle")
    failed = (await seller.post(path, {"is_final": False})).json()
    assert (failed["state"], failed["frozen_minor"], failed["last_error"]["class"]) == (
        "frozen",
        1_300,
        "declined_final",
    )
    shop.acquirer.script("timeout_after_charge", operation="settle")
    unsure = (await seller.post(path, {"shares": [{"receiver_id": one}], "is_final": True})).json()
    assert (unsure["state"], unsure["frozen_minor"], unsure["given_back_minor"]) == ("frozen", 1_000, 300)
    await refused(shop, seller.post(path, {}), "payments.outcome_unknown")
    shop.later(seconds=6)
    shown = (await seller.get(f"/splits/{made['id']}")).json()
    assert (shown["state"], shown["settled_minor"]) == ("settled", 1_000)
    assert await told(shop, payment) == [("settle", "failed", 1_300), ("settle", "succeeded", 1_000)]
    assert await receivers(shop, seller) == {one: 1_000}
    assert "merchant_split_hold" not in await seller.balances(shop.platform)
    assert [row.kind for row in await shop.due_rows(seller) if row.kind == "payments.split_give_back"] == []


async def test_money_held_for_the_providers_word_is_settled_with_its_day(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    one = await bind(seller)
    shop.acquirer.script("timeout_before_charge", operation="settle")
    await split(seller, payment, "s1", share(one, 1_000))
    [due] = [row for row in await shop.due_rows(seller) if row.kind == "payments.settle"]
    shop.clock.advance(due.due_at - shop.clock.now())
    await shop.platform.payments.settlement.settle(due)
    assert (await seller.balances(shop.platform))["merchant_pending"] == 1_000
    await shop.work_for(seller)
    assert (await seller.balances(shop.platform))["receiver_pending"] == 1_000
    shop.clock.advance(timedelta(hours=3))
    await shop.work_for(seller, rounds=3)
    balances = await seller.balances(shop.platform)
    assert (balances["receiver_available"], balances["merchant_available"]) == (1_000, 7_151)
    assert "receiver_pending" not in balances
    assert await shop.due_rows(seller) == []
