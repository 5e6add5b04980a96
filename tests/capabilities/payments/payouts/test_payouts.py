"""Payouts over HTTP: row 14, refusals, outcomes, the janitor, and crashes at every step."""

from __future__ import annotations

import asyncio
import contextlib
import random
from datetime import timedelta
from typing import Any

import pytest

from platform_core.capabilities.payments.payouts.sending import Sending
from platform_core.kernel.commit import Plan
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.payouts.desk import (
    ACCOUNT,
    confirm_destination,
    events,
    janitor,
    paid_out,
    pay_out,
    read,
    sent,
)
from tests.capabilities.payments.settlement.money import give, owe
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refused
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def stands(shop: Shop, till: Till) -> tuple[int, int, int]:
    """Available, on its way, and what has left our bank for the merchant's."""
    records = {(r.role, r.bucket): r.posted for r in await shop.platform.ledger.balances(till.merchant_id)}
    return (
        records.get(("merchant_available", ""), 0),
        records.get(("merchant_payout", ""), 0),
        records.get(("bank", till.channel_account_id), 0),
    )


async def test_available_money_is_paid_out_once(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 8_000)
    payout = await paid_out(payee, 5_000, out_payout_no="p1", key="k1", note="November")
    assert (payout["state"], payout["approval"], payout["destination_hint"]) == ("paid", "not_needed", ACCOUNT[-4:])
    assert payout["paid_at"] == payout["ended_at"]
    assert await stands(shop, payee) == (3_000, 0, 5_000)
    assert await events(shop, payout) == ["payout.created", "payout.paid"]
    again = await pay_out(payee, 5_000, out_payout_no="p1", key="k1", note="November")
    assert (again.status_code, again.json()) == (201, payout)
    same = await pay_out(payee, 5_000, out_payout_no="p1", key="k2", note="November")
    assert (same.status_code, same.json()) == (200, payout)
    await refused(shop, pay_out(payee, 4_000, out_payout_no="p1"), "payments.out_payout_no_taken")
    assert sent(shop, payout["id"]) == 1
    assert await read(payee, payout) == payout
    page = (await payee.get("/payouts?state=paid")).json()
    assert ([row["id"] for row in page["data"]], page["next_cursor"]) == ([payout["id"]], None)
    assert (await payee.get("/payouts?state=failed")).json()["data"] == []
    told = await shop.fetch("SELECT actor FROM audit_row WHERE kind = 'payout.created' AND subject = $1", payout["id"])
    assert len(told) == 1
    entry = next(entry for entry in shop.acquirer.book.entries() if entry.key == payout["id"])
    assert (entry.kind, entry.amount_minor, entry.out_trade_no) == ("payout", 5_000, "p1")
    assert (await shop.platform.ledger.verify(now=shop.clock.now())).is_clean


async def test_what_cannot_be_paid_out_is_refused_and_nothing_is_written(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 6_000)
    await paid_out(payee, 1_000)
    problem = await refused(shop, pay_out(payee, 5_001), "payments.payout_insufficient_balance")
    assert "50.01 CNY" in problem["detail"]
    assert "50.00 CNY" in problem["detail"]
    answer = await payee.post("/payout-terms", {"currency": "CNY", "schedule": "manual", "payout_minor_min": 1_000})
    assert answer.status_code == 200, answer.text
    await refused(shop, pay_out(payee, 999), "payments.payout_below_minimum", 422)
    await refused(shop, pay_out(payee, 1_000, currency="JPY"), "payments.payout_destination_missing")
    await refused(shop, pay_out(payee, -1), "kernel.field_invalid", 422)
    await owe(shop, payee, 1)
    await refused(shop, pay_out(payee, 1_000), "payments.payout_debt_open")
    assert await stands(shop, payee) == (5_000, 0, 1_000)


async def test_without_destination_or_channel_nothing_is_paid_out(shop: Shop) -> None:
    till = await shop.new_till(scopes=(*SCOPES, "payouts:write"))
    await give(shop, till, 5_000)
    await refused(shop, pay_out(till), "payments.payout_destination_missing")
    await confirm_destination(shop, till)
    await shop.owner.execute("UPDATE pay_channel_account SET is_active = false WHERE id = $1", till.channel_account_id)
    shop.platform.payments.payout_sending._desk.tools.terms.forget(till.merchant_id)
    await refused(shop, pay_out(till), "payments.no_payout_route")
    seller = await shop.new_till()
    assert (await pay_out(seller)).json()["code"] == "identity.scope_missing"


async def test_two_payouts_of_the_same_money_at_once_are_one(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    answers = await asyncio.gather(*(pay_out(payee, 5_000) for _ in range(4)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [201, 409, 409, 409]
    assert await stands(shop, payee) == (0, 0, 5_000)


async def test_what_the_bank_has_not_answered_is_sent_until_it_has(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    shop.acquirer.script("paying", operation="payout")
    payout = await paid_out(payee)
    assert (payout["state"], payout["last_error"]["code"]) == ("sent", "payout_sent")
    assert await stands(shop, payee) == (0, 5_000, 0)
    await janitor(shop, payee)
    assert (await read(payee, payout))["state"] == "paid"
    assert await events(shop, payout) == ["payout.created", "payout.paid"]
    assert await stands(shop, payee) == (0, 0, 5_000)


@pytest.mark.parametrize("scenario", ["timeout_after_charge", "timeout_before_charge", "unknown", "broken_body"])
async def test_a_lost_answer_is_unknown_until_the_provider_speaks(shop: Shop, payee: Till, scenario: str) -> None:
    await give(shop, payee, 5_000)
    shop.acquirer.script(scenario, operation="payout")
    payout = await paid_out(payee)
    assert payout["state"] == "unknown"
    assert await stands(shop, payee) == (0, 5_000, 0)
    await janitor(shop, payee)
    assert (await read(payee, payout))["state"] == "paid"
    assert (sent(shop, payout["id"]), await stands(shop, payee)) == (1, (0, 0, 5_000))


async def test_unknown_stays_unknown_while_nobody_answers(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    shop.acquirer.script("timeout_after_charge", operation="payout")
    shop.acquirer.script("timeout_after_charge", operation="query", times=100)
    payout = await paid_out(payee)
    await janitor(shop, payee, rounds=16)
    assert (await read(payee, payout))["state"] == "unknown"
    assert await stands(shop, payee) == (0, 5_000, 0)
    shop.acquirer.forget_faults()
    await janitor(shop, payee)
    assert (await read(payee, payout))["state"] == "paid"


async def test_a_refused_payout_gives_the_money_back(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    shop.acquirer.script("payee_refused", operation="payout")
    payout = await paid_out(payee)
    assert (payout["state"], payout["last_error"]["code"]) == ("failed", "PAYEE_REFUSED")
    assert await events(shop, payout) == ["payout.created", "payout.failed"]
    assert await stands(shop, payee) == (5_000, 0, 0)
    assert await shop.due_rows(payee) == []


async def test_money_that_the_bank_sends_back_is_the_merchants_again(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    payout = await paid_out(payee)
    assert shop.acquirer.wallet.payouts.give_back("M1", payout["id"])
    [due] = await shop.due_rows(payee)
    assert due.due_at == shop.clock.now() + timedelta(days=1)
    shop.clock.advance(timedelta(days=1))
    await shop.work_for(payee)
    after = await read(payee, payout)
    assert (after["state"], after["last_error"]["code"]) == ("returned", "payout_returned")
    assert await events(shop, payout) == ["payout.created", "payout.paid", "payout.returned"]
    assert await stands(shop, payee) == (5_000, 0, 0)
    assert await shop.due_rows(payee) == []


async def test_a_paid_payout_is_asked_about_three_times_more(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    payout = await paid_out(payee)
    asked = []
    while due := await shop.due_rows(payee):
        shop.clock.advance(due[0].due_at - shop.clock.now())
        asked.append(shop.clock.now().isoformat())
        await shop.work_for(payee)
        assert len(asked) < 9
    questions = [call for call in shop.acquirer.calls if call == ("query_payout", payout["id"])]
    assert len(questions) == 3
    assert (await read(payee, payout))["state"] == "paid"


async def test_a_word_against_an_end_moves_nothing(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    shop.acquirer.script("payee_refused", operation="payout")
    payout = await paid_out(payee)
    entry = next(entry for entry in shop.acquirer.book.entries() if entry.key == payout["id"])
    entry.status, entry.code = "SUCCESS", "OK"
    shop.acquirer.book.save(entry)
    row = await shop.platform.payments.payouts._repository.payout(payee.merchant_id, payout["id"])
    assert row is not None
    await shop.platform.payments.payout_sending.send(row)
    assert (await read(payee, payout))["state"] == "failed"
    assert await stands(shop, payee) == (5_000, 0, 0)


async def test_an_unreachable_provider_keeps_the_payout_until_it_is_back(shop: Shop, payee: Till) -> None:
    await give(shop, payee, 5_000)
    shop.acquirer.is_down = True
    try:
        payout = await paid_out(payee)
        assert (payout["state"], payout["last_error"]["class"]) == ("created", "not_sent")
        await janitor(shop, payee, rounds=3)
        assert (await read(payee, payout))["state"] == "created"
    finally:
        shop.acquirer.is_down = False
    await janitor(shop, payee)
    assert (await read(payee, payout))["state"] == "paid"
    assert sent(shop, payout["id"]) == 1


@pytest.mark.parametrize("where", ["before the call", "after the call", "before the outcome"])
async def test_a_crash_at_any_step_pays_out_once(
    shop: Shop, payee: Till, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give(shop, payee, 5_000)

    async def die() -> None:
        raise Crash

    async def dies_concluding(*_: Any, **__: Any) -> None:
        raise Crash

    with monkeypatch.context() as patch:
        if where == "before the outcome":
            patch.setattr(Sending, "conclude", dies_concluding)
        else:
            (shop.acquirer.before if where == "before the call" else shop.acquirer.after)["payout"] = die
        with pytest.raises(BaseException, match=r"^$"):
            await pay_out(payee, key="crashed", out_payout_no=f"crash_{len(where)}")
    [row] = await shop.fetch("SELECT * FROM pay_payout WHERE merchant_id = $1", payee.merchant_id)
    assert row["state"] == "created"
    assert await stands(shop, payee) == (0, 5_000, 0)
    await janitor(shop, payee)
    assert (await read(payee, row))["state"] == "paid"
    assert (sent(shop, row["id"]), await stands(shop, payee)) == (1, (0, 0, 5_000))
    assert await events(shop, row) == ["payout.created", "payout.paid"]


async def test_a_crash_before_the_first_commit_leaves_nothing(
    shop: Shop, payee: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    await give(shop, payee, 5_000)
    committer = type(shop.platform.committer)
    with monkeypatch.context() as patch:

        async def dies(self: object, plan: Plan) -> None:
            raise Crash

        patch.setattr(committer, "commit", dies)
        with pytest.raises(BaseException, match=r"^$"):
            await pay_out(payee)
    assert await stands(shop, payee) == (5_000, 0, 0)
    assert await shop.fetch("SELECT 1 FROM pay_payout WHERE merchant_id = $1", payee.merchant_id) == []


async def test_random_schedules_never_pay_out_twice(shop: Shop, payee: Till) -> None:
    """P10, P15 for payouts: faults, crashes and repeated questions in any order end at the provider's book."""
    chance = random.Random(20261122)
    await give(shop, payee, 40 * 1_000)
    faults = ["", "timeout_after_charge", "timeout_before_charge", "unknown", "paying", "payee_refused", "broken_body"]

    async def die() -> None:
        raise Crash

    for number in range(40):
        fault, crash = chance.choice(faults), chance.choice(["", "", "before", "after"])
        if fault:
            shop.acquirer.script(fault, operation="payout")
        if chance.random() < 0.3:
            shop.acquirer.script("timeout_after_charge", operation="query", times=chance.randint(1, 3))
        if crash:
            getattr(shop.acquirer, crash)["payout"] = die
        with contextlib.suppress(Crash, BaseExceptionGroup):
            await pay_out(payee, 1_000, out_payout_no=f"random_{number}", key=f"random_{number}")
        if chance.random() < 0.5:
            await pay_out(payee, 1_000, out_payout_no=f"random_{number}", key=f"random_{number}_again")
        await shop.work_for(payee)
        shop.acquirer.forget_faults()
    await janitor(shop, payee, rounds=200)
    rows = await shop.fetch("SELECT id, state FROM pay_payout WHERE merchant_id = $1", payee.merchant_id)
    assert len(rows) == 40
    moved = shop.acquirer.moved("payout")
    assert {row["state"] for row in rows} == {"paid", "failed"}
    assert [moved.get(row["id"], 0) for row in rows] == [int(row["state"] == "paid") for row in rows]
    paid = sum(row["state"] == "paid" for row in rows) * 1_000
    assert await stands(shop, payee) == (40_000 - paid, 0, paid)
