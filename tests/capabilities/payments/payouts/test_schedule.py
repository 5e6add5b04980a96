"""Payouts by themselves: daily or weekly, on the merchant's calendar, once a day."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from platform_core.kernel.commit.due import DueWork
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.payouts.desk import janitor, read
from tests.capabilities.payments.payouts.test_payouts import stands
from tests.capabilities.payments.settlement.money import ZONE, give, owe
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def schedule(till: Till, **terms: Any) -> dict[str, Any]:
    answer = await till.post("/payout-terms", {"currency": "CNY", **terms})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def due(shop: Shop, till: Till) -> DueWork:
    """The schedule's due row, at its time."""
    [row] = [row for row in await shop.due_rows(till) if row.kind == "payments.payout_schedule"]
    shop.clock.advance(row.due_at - shop.clock.now())
    return row


async def run(shop: Shop, work: DueWork) -> None:
    plan = await shop.platform.payments.payout_schedule.run(work)
    if plan is not None:
        await shop.platform.committer.commit(plan)


async def payouts(till: Till) -> list[dict[str, Any]]:
    return list((await till.get("/payouts")).json()["data"])


async def test_a_daily_schedule_pays_out_what_is_available_once(shop: Shop, payee: Till) -> None:
    terms = await schedule(payee, schedule="daily", payout_minor_min=1_000)
    assert (await payee.get("/payout-terms")).json()["data"] == [terms]
    await give(shop, payee, 7_000)
    work = await due(shop, payee)
    local = work.due_at.astimezone(ZoneInfo(ZONE))
    assert (local.hour, terms["next_payout_at"]) == (8, work.due_at.isoformat().replace("+00:00", "Z"))
    await run(shop, work)
    [payout] = await payouts(payee)
    assert (payout["state"], payout["amount_minor"], payout["origin"]) == ("paid", 7_000, "daily")
    assert payout["out_payout_no"] == f"auto-{local:%Y%m%d}-CNY"
    await give(shop, payee, 5_000)
    await run(shop, work)
    assert len(await payouts(payee)) == 1
    following = await due(shop, payee)
    assert following.due_at == work.due_at + timedelta(days=1)
    await run(shop, following)
    assert [row["amount_minor"] for row in await payouts(payee)] == [5_000, 7_000]
    assert await stands(shop, payee) == (0, 0, 12_000)


async def test_below_the_minimum_it_waits_for_the_next_day(shop: Shop, payee: Till) -> None:
    await schedule(payee, schedule="daily", payout_minor_min=1_000)
    await give(shop, payee, 999)
    await run(shop, await due(shop, payee))
    assert await payouts(payee) == []
    await give(shop, payee, 1)
    await run(shop, await due(shop, payee))
    assert [row["amount_minor"] for row in await payouts(payee)] == [1_000]


async def test_what_keeps_a_scheduled_payout_back_is_told(shop: Shop, payee: Till) -> None:
    await schedule(payee, schedule="weekly", weekday=3)
    await give(shop, payee, 5_000)
    await owe(shop, payee, 10)
    work = await due(shop, payee)
    assert work.due_at.astimezone(ZoneInfo(ZONE)).isoweekday() == 3
    await run(shop, work)
    assert await payouts(payee) == []
    [terms] = (await payee.get("/payout-terms")).json()["data"]
    assert terms["last_skipped"]["code"] == "payments.payout_debt_open"
    assert (await due(shop, payee)).due_at == work.due_at + timedelta(days=7)


async def test_a_crash_between_the_payout_and_the_next_day_pays_once(shop: Shop, payee: Till) -> None:
    await schedule(payee, schedule="daily")
    await give(shop, payee, 5_000)
    work = await due(shop, payee)

    async def die() -> None:
        raise Crash

    shop.acquirer.before["payout"] = die
    with pytest.raises(Crash):
        await run(shop, work)
    await run(shop, work)
    await janitor(shop, payee)
    [payout] = await payouts(payee)
    assert (await read(payee, payout))["state"] == "paid"
    assert await stands(shop, payee) == (0, 0, 5_000)


async def test_by_hand_again_nothing_is_due(shop: Shop, payee: Till) -> None:
    await schedule(payee, schedule="daily")
    terms = await schedule(payee, schedule="manual")
    assert terms["next_payout_at"] is None
    assert await shop.due_rows(payee) == []
    wrong = await payee.post("/payout-terms", {"currency": "CNY", "schedule": "weekly"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "kernel.validation_failed")
