"""Disputes: row 15 of the books exactly, from opening to the decision, whatever order words come in."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from platform_core.kernel.commit import Plan
from platform_core.ledger.accounts import Account, Guard, Transfer
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refund, refused
from tests.capabilities.payments.test_sales import PAID, read, scan
from tests.capabilities.payments.test_settlement import settle
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def disputed(shop: Shop, till: Till, payment: dict[str, Any], amount: int = 0, **how: str) -> str:
    """The buyer disputes it, and the acquirer says so; returns the acquirer's reference."""
    [sale, *_] = await shop.transactions(payment["id"])
    reference = shop.acquirer.dispute(sale["id"], amount, **how)
    assert reference
    assert set(await shop.deliver(till)) == {200}
    return reference


async def step(shop: Shop, till: Till, reference: str, *steps: Any) -> None:
    for each in steps:
        shop.acquirer.step(reference, each)
        assert set(await shop.deliver(till)) == {200}


async def the_one(till: Till, payment: dict[str, Any]) -> dict[str, Any]:
    """The payment's one dispute."""
    [found] = (await till.get(f"/disputes?payment_id={payment['id']}")).json()["data"]
    return dict(found)


async def transfers(shop: Shop, dispute_id: str) -> list[tuple[str, str, str, int]]:
    """What moved for a dispute: code, debited and credited role, amount."""
    sql = (
        "SELECT t.code, d.role AS debit, c.role AS credit, t.amount FROM ledger_transfer t "
        "JOIN ledger_account d ON d.id = t.debit_account JOIN ledger_account c ON c.id = t.credit_account "
        "WHERE t.reference = $1 ORDER BY t.position"
    )
    return [tuple(row) for row in await shop.fetch(sql, dispute_id)]


async def move(shop: Shop, till: Till, debit: str, credit: str, amount: int) -> None:
    """What somebody else does on the merchant's accounts meanwhile; roles beginning with bank mirror the outside."""

    def account(role: str) -> Account:
        guard = Guard.FREE if role == "bank" else Guard.LE0 if role == "merchant_debt" else Guard.GE0
        return Account(till.merchant_id, "CNY", till.merchant_id, role, "test" if role == "bank" else "", guard)

    id_ = f"test:{till.merchant_id}:{next(till.keys)}"
    plan = Plan(till.merchant_id, [Transfer(id_, account(debit), account(credit), amount, "payout", "test")])
    await shop.platform.committer.commit(plan)


async def test_dispute_before_settlement_takes_the_day_s_money_and_the_rest_as_debt(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    assert (dispute["state"], dispute["amount_minor"], dispute["held_minor"]) == ("opened", 8_200, 8_200)
    assert (dispute["reason"], dispute["is_withdrawn"]) == ("not_received", False)
    assert await transfers(shop, dispute["id"]) == [
        ("dispute", "merchant_pending", "merchant_dispute", 8_151),
        ("dispute", "merchant_debt", "merchant_dispute", 49),
    ]
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_debt": -49,
        "merchant_dispute": 8_200,
        "platform_fee": 49,
    }
    shown = await read(seller, payment)
    amounts = shown["amounts"]
    assert (shown["state"], amounts["disputed_minor"], amounts["refundable_minor"], amounts["net_minor"]) == (
        "captured",
        8_200,
        0,
        -49,
    )
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured", "dispute.opened"]


async def test_dispute_after_settlement_takes_available_then_reserve_then_debt(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await settle(shop, seller)
    await move(shop, seller, "merchant_available", "merchant_reserve", 1_000)
    await move(shop, seller, "merchant_available", "bank", 151)
    reference = await disputed(shop, seller, payment)
    dispute = await the_one(seller, payment)
    taken = [
        ("dispute", "merchant_available", "merchant_dispute", 7_000),
        ("dispute", "merchant_reserve", "merchant_dispute", 1_000),
        ("dispute", "merchant_debt", "merchant_dispute", 200),
    ]
    assert await transfers(shop, dispute["id"]) == taken
    await step(shop, seller, reference, "withdrawn", "won")
    assert (await transfers(shop, dispute["id"]))[3:] == [
        ("dispute_withdrawn", "merchant_dispute", "channel_receivable", 8_200),
        ("dispute_won", "channel_receivable", "merchant_dispute", 8_200),
        ("dispute_won_debt", "merchant_dispute", "merchant_debt", 200),
        ("dispute_won", "merchant_dispute", "merchant_available", 8_000),
    ]
    assert await seller.balances(shop.platform) == {
        "bank": 151,
        "channel_receivable": -8_200,
        "merchant_available": 8_000,
        "platform_fee": 49,
    }
    won = await the_one(seller, payment)
    assert (won["state"], won["held_minor"], won["decided_at"] is None) == ("won", 8_200, False)
    assert (await read(seller, payment))["amounts"]["disputed_minor"] == 0
    assert (await read(seller, payment))["amounts"]["refundable_minor"] == 8_200
    assert await shop.due_rows(seller) == []


async def test_won_before_the_money_was_withdrawn_gives_it_back(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    reference = await disputed(shop, seller, payment, 5_000)
    await step(shop, seller, reference, "won")
    assert (await transfers(shop, (await the_one(seller, payment))["id"]))[1:] == [
        ("dispute_won", "merchant_dispute", "merchant_available", 5_000)
    ]
    assert await seller.balances(shop.platform) == {**PAID, "merchant_pending": 3_151, "merchant_available": 5_000}


async def test_lost_is_withdrawn_and_stays_taken(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    reference = await disputed(shop, seller, payment, 5_000)
    await step(shop, seller, reference, "lost")
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -3_200,
        "merchant_pending": 3_151,
        "platform_fee": 49,
    }
    assert (await the_one(seller, payment))["state"] == "lost"
    amounts = (await read(seller, payment))["amounts"]
    assert (amounts["disputed_minor"], amounts["refundable_minor"], amounts["net_minor"]) == (5_000, 3_200, 3_151)
    events = ["payment.created", "payment.captured", "dispute.opened", "dispute.withdrawn", "dispute.lost"]
    assert await shop.events(seller, payment["id"]) == events
    assert (await shop.platform.ledger.verify(now=shop.clock.now())).is_clean


@pytest.mark.parametrize("order", [1, -1])
async def test_words_in_any_order_and_twice_give_one_state(shop: Shop, seller: Till, order: int) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    reference = shop.acquirer.dispute(sale["id"], 5_000)
    shop.acquirer.step(reference, "withdrawn")
    shop.acquirer.step(reference, "won")
    assert await shop.deliver(seller, order=order) == [200] * 4
    balances = {**PAID, "merchant_pending": 3_151, "merchant_available": 5_000}
    assert await seller.balances(shop.platform) == balances
    dispute = await the_one(seller, payment)
    assert (dispute["state"], dispute["is_withdrawn"]) == ("won", True)
    before, moved = await shop.counts(), await transfers(shop, dispute["id"])
    codes = [code for code, *_ in moved]
    assert codes == ["dispute", "dispute_withdrawn", "dispute_won", "dispute_won"]
    shop.acquirer.book._db.execute("UPDATE notice SET is_done = 0")  # the acquirer heard no acknowledgement
    assert set(await shop.deliver(seller, order=-order)) == {200}
    assert await shop.counts() == before


async def test_word_that_contradicts_the_end_is_told_and_moves_nothing(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    reference = await disputed(shop, seller, payment, 5_000)
    await step(shop, seller, reference, "lost")
    [sale] = await shop.transactions(payment["id"])
    words = {
        "kind": "dispute",
        "key": sale["id"],
        "reference": reference,
        "is_withdrawn": True,
        "reason": "not_received",
        "due_at": shop.clock.now().isoformat(),
    }
    balances = await seller.balances(shop.platform)
    answer = await shop.tell(seller, **words, notice_id="x1", status="WON", amount_minor=5_000)
    assert answer.status_code == 200
    answer = await shop.tell(seller, **words, notice_id="x2", status="LOST", amount_minor=4_999)
    assert answer.status_code == 200
    assert await seller.balances(shop.platform) == balances
    assert (await the_one(seller, payment))["state"] == "lost"
    assert (await shop.events(seller, payment["id"]))[-2:] == ["payment.outcome_contradicted"] * 2


async def test_dispute_of_what_a_refund_takes_is_held_as_the_refund_fails(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("timeout_before_charge", operation="refund", subject=sale["id"])
    shop.acquirer.script("timeout_before_charge", operation="query_refund")
    assert (await refund(seller, payment, "r1", 4_100)).json()["state"] == "unknown"
    reference = await disputed(shop, seller, payment, 8_200)
    dispute = await the_one(seller, payment)
    assert (dispute["amount_minor"], dispute["held_minor"]) == (8_200, 4_100)
    amounts = (await read(seller, payment))["amounts"]
    assert (amounts["refundable_minor"], amounts["disputed_minor"]) == (0, 4_100)
    shop.later(seconds=10)
    await shop.work_for(seller)  # the refund arrives now: refused there, because all is disputed
    [refunded] = (await seller.get(f"/refunds?payment_id={payment['id']}")).json()["data"]
    assert refunded["state"] == "failed"
    await step(shop, seller, reference, "withdrawn")
    assert (await the_one(seller, payment))["held_minor"] == 8_200
    assert (await seller.balances(shop.platform)).get("channel_receivable", 0) == 0
    assert await shop.pending(seller) == {}


async def test_notice_about_another_merchants_transaction_is_refused(shop: Shop, seller: Till) -> None:
    other = await shop.new_till()
    payment = await scan(other)
    [sale] = await shop.transactions(payment["id"])
    before = await shop.counts()
    words = {"kind": "dispute", "key": sale["id"], "reference": "D1", "is_withdrawn": False, "reason": "x"}
    due_at = (shop.clock.now() + timedelta(days=7)).isoformat()
    answer = await shop.tell(seller, **words, notice_id="d1", status="OPENED", amount_minor=1, due_at=due_at)
    assert (answer.status_code, answer.json()["code"]) == (400, "payments.notice_refused")
    assert await shop.counts() == before
    assert (await seller.get("/disputes")).json()["data"] == []


async def test_cancel_of_a_disputed_payment_is_refused(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    await disputed(shop, seller, payment, 1)
    await refused(shop, seller.post(f"/payments/{payment['id']}/cancel", {}), "payments.state_conflict")


async def test_open_dispute_is_asked_about_daily(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    reference = await disputed(shop, seller, payment)
    [row] = [row for row in await shop.due_rows(seller) if row.kind == "payments.dispute"]
    assert row.due_at == shop.clock.now() + timedelta(days=1)
    shop.acquirer.step(reference, "withdrawn")
    for notice in shop.acquirer.notices():
        shop.acquirer.book.end_notice(notice.number)  # lost on its way
    shop.later(days=1)
    await shop.work_for(seller)
    dispute = await the_one(seller, payment)
    assert (dispute["state"], dispute["is_withdrawn"]) == ("opened", True)
    shop.later(days=6, seconds=1)
    await shop.work_for(seller)  # its time is over and no evidence came
    assert (await the_one(seller, payment))["state"] == "lost"
    assert [row for row in await shop.due_rows(seller) if row.kind == "payments.dispute"] == []


async def test_what_a_failed_refund_leaves_is_held_for_a_dispute_that_was_lost_before(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("timeout_before_charge", operation="refund", subject=sale["id"])
    shop.acquirer.script("timeout_before_charge", operation="query_refund")
    assert (await refund(seller, payment, "r1", 4_100)).json()["state"] == "unknown"
    reference = await disputed(shop, seller, payment, 8_200)
    await step(shop, seller, reference, "lost")
    assert (await the_one(seller, payment))["held_minor"] == 4_100
    shop.later(seconds=10)
    await shop.work_for(seller, rounds=2)  # the refund fails, and the dispute is looked at
    dispute = await the_one(seller, payment)
    assert (dispute["state"], dispute["held_minor"]) == ("lost", 8_200)
    assert (await shop.events(seller, payment["id"]))[-2:] == ["refund.failed", "dispute.held"]
    assert await seller.balances(shop.platform) == {"merchant_debt": -49, "platform_fee": 49}
    assert await shop.due_rows(seller) == [row for row in await shop.due_rows(seller) if row.kind == "payments.settle"]
