"""Capture, void, refund, cancel, close: what they move, what they refuse, and what a repetition does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from platform_core.capabilities.payments.fees import FeeTerms
from tests.capabilities.payments.acquirer import Crash
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_sales import PAID, read, scan, show_qr
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]


async def act(till: Till, payment: dict[str, Any], name: str, key: str | None = None, **body: Any) -> httpx.Response:
    return await till.post(f"/payments/{payment['id']}/{name}", body, key=key)


async def refund(
    till: Till, payment: dict[str, Any], number: str, amount: int | None = None, **more: Any
) -> httpx.Response:
    how = {"is_full": True} if amount is None else {"amount_minor": amount}
    return await act(till, payment, "refunds", out_request_no=number, **how, **more)


async def refused(shop: Shop, answer_of: Any, code: str, status: int = 409) -> dict[str, Any]:
    """The act is refused with this code, and nothing at all was written or sent."""
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    answer = await answer_of
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert await shop.counts() == before
    assert len(shop.acquirer.calls) == calls
    return dict(answer.json())


async def test_authorize_then_capture_in_parts_and_release_the_rest(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False, order_minor=10_000)
    assert (payment["state"], payment["amounts"]["capturable_minor"]) == ("authorized", 10_000)
    assert await seller.balances(shop.platform) == {}
    assert await shop.pending(seller) == {"channel_receivable": 10_000}
    first = await act(seller, payment, "capture", out_request_no="c1", amount_minor=3_000, is_final=False)
    assert (first.json()["state"], first.json()["amounts"]["capturable_minor"]) == ("authorized", 7_000)
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -3_000,
        "merchant_pending": 2_982,
        "platform_fee": 18,
    }
    voided = await act(seller, payment, "void", out_request_no="v1", amount_minor=1_000)
    assert voided.json()["amounts"]["capturable_minor"] == 6_000
    last = await act(seller, payment, "capture", out_request_no="c2", amount_minor=2_500)
    assert (last.json()["state"], last.json()["amounts"]["captured_minor"]) == ("captured", 5_500)
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -5_500,
        "merchant_pending": 5_467,
        "platform_fee": 33,
    }
    assert await shop.pending(seller) == {}
    assert await shop.events(seller, payment["id"]) == [
        "payment.created",
        "payment.authorized",
        "payment.captured",
        "payment.voided",
        "payment.captured",
    ]
    await refused(shop, act(seller, payment, "capture", out_request_no="c3"), "payments.state_conflict")


async def test_capture_beyond_the_authorisation_is_refused(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False)
    body = {"out_request_no": "c1", "amount_minor": 8_201}
    problem = await refused(shop, act(seller, payment, "capture", **body), "payments.capture_exceeds_authorized")
    assert "82.01" in problem["detail"]
    assert "82.00" in problem["detail"]
    assert problem["param"] == "/amount_minor"


async def test_capture_repeats_by_its_number(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False)
    first = await act(seller, payment, "capture", out_request_no="c1", amount_minor=8_000)
    again = await act(seller, payment, "capture", out_request_no="c1", amount_minor=8_000)
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.json() == first.json()
    await refused(
        shop,
        act(seller, payment, "capture", out_request_no="c1", amount_minor=200),
        "payments.out_request_no_taken",
    )
    assert (await seller.balances(shop.platform))["channel_receivable"] == -8_000


async def test_failed_capture_leaves_the_authorisation_and_may_be_repeated(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False)
    [authorization] = await shop.transactions(payment["id"])
    shop.acquirer.script("decline_channel", operation="capture", subject=authorization["id"])
    failed = await act(seller, payment, "capture", out_request_no="c1")
    assert (failed.json()["state"], failed.json()["amounts"]["capturable_minor"]) == ("authorized", 8_200)
    assert failed.json()["last_error"]["code"] == "CHANNEL_CLOSED"
    again = await act(seller, payment, "capture", out_request_no="c1")
    assert again.json()["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID


async def test_unknown_capture_blocks_until_the_provider_speaks(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False)
    [authorization] = await shop.transactions(payment["id"])
    shop.acquirer.script("silent", operation="capture", subject=authorization["id"])
    doubted = await act(seller, payment, "capture", out_request_no="c1")
    assert doubted.json()["state"] == "unknown"
    for name, body in (("void", {"out_request_no": "v"}), ("refunds", {"out_request_no": "r", "is_full": True})):
        await refused(shop, act(seller, payment, name, **body), "payments.outcome_unknown")
    shop.later(seconds=10)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID
    assert await shop.pending(seller) == {}


async def test_capture_that_never_arrived_is_sent_again_under_its_key(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False)
    [authorization] = await shop.transactions(payment["id"])
    shop.acquirer.script("timeout_before_charge", operation="capture", subject=authorization["id"])
    assert (await act(seller, payment, "capture", out_request_no="c1")).json()["state"] == "unknown"
    shop.later(seconds=10)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "captured"
    [_, capture] = await shop.transactions(payment["id"])
    assert shop.acquirer.moved("capture")[capture["id"]] == 1


async def test_void_of_everything_cancels(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, is_capture=False)
    voided = await act(seller, payment, "void", out_request_no="v1")
    assert voided.json()["state"] == "canceled"
    assert await seller.balances(shop.platform) == {}
    assert await shop.pending(seller) == {}
    assert await shop.events(seller, payment["id"]) == [
        "payment.created",
        "payment.authorized",
        "payment.voided",
        "payment.canceled",
    ]


async def test_refunds_in_parts_return_the_fee_exactly(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    returned = 0
    for number, amount in enumerate((1, 999, 3_100, 4_100)):
        answer = await refund(seller, payment, f"r{number}", amount)
        assert (answer.status_code, answer.json()["state"]) == (201, "succeeded"), answer.text
        returned += answer.json()["fee_returned_minor"]
    assert returned == 49
    assert await seller.balances(shop.platform) == {}
    assert await shop.pending(seller) == {}
    shown = await read(seller, payment)
    assert (shown["amounts"]["refunded_minor"], shown["amounts"]["fee_minor"]) == (8_200, 0)
    await refused(shop, refund(seller, payment, "r9", 1), "payments.refund_exceeds_refundable")


async def test_fee_may_be_kept_on_refund(shop: Shop) -> None:
    till = await shop.new_till()
    shop.later(seconds=2)
    terms = FeeTerms(rate_bp=60, is_kept_on_refund=True)
    await shop.platform.payment_setup.set_fee_plan(till.merchant_id, currency="CNY", terms=terms)
    shop.later(seconds=2)
    payment = await scan(till)
    await scan(till, order_minor=1_000)
    answer = await refund(till, payment, "r1", 4_100)
    assert answer.json()["fee_returned_minor"] == 0
    assert await till.balances(shop.platform) == {
        "channel_receivable": -5_100,
        "merchant_pending": 5_045,
        "platform_fee": 55,
    }


async def test_refund_repeats_by_its_number_and_keeps_its_key(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    first = await refund(seller, payment, "r1", 100)
    again = await refund(seller, payment, "r1", 100)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["id"] == first.json()["id"]
    await refused(shop, refund(seller, payment, "r1", 101), "payments.out_request_no_taken")
    assert (await seller.balances(shop.platform))["channel_receivable"] == -8_100


async def test_redelivered_refund_keeps_its_key(shop: Shop, seller: Till) -> None:
    """Lost on the way there: sent again by the janitor under the same key, so that it happens once."""
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("timeout_before_charge", operation="refund", subject=sale["id"])
    doubted = await refund(seller, payment, "r1", 100)
    assert (doubted.status_code, doubted.json()["state"]) == (201, "unknown")
    assert await shop.pending(seller) == {"merchant_pending": 100}
    other = await refund(seller, payment, "r2", 200)
    assert other.json()["state"] == "succeeded"
    shop.later(seconds=10)
    await shop.work_for(seller)
    [_, lost, _] = await shop.transactions(payment["id"])
    assert (lost["state"], shop.acquirer.moved("refund")[lost["id"]]) == ("succeeded", 1)
    assert (await seller.get(f"/refunds/{doubted.json()['id']}")).json()["state"] == "succeeded"
    assert (await seller.balances(shop.platform))["channel_receivable"] == -7_900


async def test_failed_refund_is_repeated_with_its_number(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("refund_failed", operation="refund", subject=sale["id"])
    failed = await refund(seller, payment, "r1", 4_100)
    assert (failed.json()["state"], failed.json()["last_error"]["code"]) == ("failed", "REFUND_REFUSED")
    assert await seller.balances(shop.platform) == PAID
    assert await shop.pending(seller) == {}
    again = await refund(seller, payment, "r1", 4_100)
    assert (again.json()["state"], again.json()["id"]) == ("succeeded", failed.json()["id"])
    assert await shop.events(seller, payment["id"]) == [
        "payment.created",
        "payment.captured",
        "refund.created",
        "refund.failed",
        "refund.created",
        "refund.succeeded",
    ]


async def test_fees_of_a_failed_refund_do_not_unbalance_later_ones(shop: Shop) -> None:
    """A convex fee plan: after a failure the next refund may owe more fee than it takes; clearing stays at zero."""
    till = await shop.new_till()
    shop.later(seconds=2)
    terms = FeeTerms(rate_bp=1_000, fee_minor_min=500)
    await shop.platform.payment_setup.set_fee_plan(till.merchant_id, currency="CNY", terms=terms)
    shop.later(seconds=2)
    payment = await scan(till, order_minor=10_000)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("unknown_failed-1", operation="refund", subject=sale["id"])
    assert (await refund(till, payment, "r1", 5_000)).json()["state"] == "unknown"
    await refund(till, payment, "r2", 1_000)
    shop.later(seconds=10)
    await shop.work_for(till)
    assert (await refund(till, payment, "r3", 50)).json()["fee_returned_minor"] == 50
    assert (await refund(till, payment, "r4")).json()["state"] == "succeeded"
    assert await till.balances(shop.platform) == {}


async def test_refund_bounced_comes_back_to_the_merchant(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("refund_bounced", operation="refund", subject=sale["id"])
    made = await refund(seller, payment, "r1", 4_100)
    assert made.json()["state"] in ("succeeded", "bounced")
    assert set(await shop.deliver(seller)) == {200}
    shown = (await seller.get(f"/refunds/{made.json()['id']}")).json()
    assert shown["state"] == "bounced"
    assert (await read(seller, payment))["amounts"]["refundable_minor"] == 8_200
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -8_200,
        "merchant_pending": 4_075,
        "merchant_available": 4_100,
        "platform_fee": 25,
    }
    assert (await shop.events(seller, payment["id"]))[2:] == ["refund.created", "refund.succeeded", "refund.bounced"]


async def test_cancel_in_every_state(shop: Shop, seller: Till) -> None:
    for scenario, state, word in (
        ("success", "captured", "canceled"),
        ("decline_balance", "created", "canceled"),
        ("paying_never", "processing", "canceled"),
        ("silent", "unknown", "canceled"),
        ("timeout_before_charge", "unknown", "canceled"),
    ):
        payment = await scan(seller, scenario)
        assert payment["state"] == state
        answer = await act(seller, payment, "cancel")
        assert (answer.status_code, answer.json()["state"]) == (200, word), scenario
        again = await act(seller, payment, "cancel")
        assert (again.status_code, again.json()["state"]) == (200, word)
        assert (await shop.events(seller, payment["id"]))[-1] == "payment.canceled"
        assert await seller.balances(shop.platform) == {}, scenario
        assert await shop.pending(seller) == {}, scenario
    authorized = await scan(seller, is_capture=False)
    assert (await act(seller, authorized, "cancel")).json()["state"] == "canceled"
    assert await shop.pending(seller) == {}
    keys = {
        t["id"] for t in await shop.fetch("SELECT id FROM pay_transaction WHERE merchant_id = $1", seller.merchant_id)
    }
    assert shop.acquirer.collected(keys) == 0


async def test_cancel_window_is_a_day(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    shop.later(hours=24, seconds=1)
    await refused(shop, act(seller, payment, "cancel"), "payments.cancel_window_over")
    assert (await read(seller, payment))["state"] == "captured"


async def test_cancel_after_settlement_takes_what_is_available(shop: Shop, seller: Till) -> None:
    # 20:00 in Shanghai, so that 02:00 of the next day comes before the cancel's window of 24 hours ends.
    shop.clock.advance(timedelta(seconds=(43_200 - shop.clock.now().timestamp()) % 86_400))
    payment = await scan(seller)
    [settle] = await shop.due_rows(seller)
    shop.clock.advance(settle.due_at - shop.clock.now())
    await shop.work_for(seller)
    assert (await seller.balances(shop.platform))["merchant_available"] == 8_151
    answer = await act(seller, payment, "cancel")
    assert answer.json()["state"] == "canceled", answer.text
    assert await seller.balances(shop.platform) == {}


async def test_cancel_of_a_number_never_seen_bars_it(shop: Shop, seller: Till) -> None:
    answer = await seller.post("/payments/cancel", {"out_trade_no": "ghost"})
    assert (answer.status_code, answer.json()["state"]) == (200, "canceled")
    assert await shop.events(seller, answer.json()["id"]) == ["payment.canceled"]
    late = await seller.pay(out_trade_no="ghost")
    assert (late.status_code, late.json()["code"]) == (409, "payments.out_trade_no_taken")
    assert await seller.balances(shop.platform) == {}


async def test_cancel_by_number_undoes_a_sale(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, out_trade_no="undone")
    answer = await seller.post("/payments/cancel", {"out_trade_no": "undone"})
    assert (answer.json()["id"], answer.json()["state"]) == (payment["id"], "canceled")
    assert await seller.balances(shop.platform) == {}


async def test_close_ends_what_is_unpaid_and_nothing_else(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    closed = await act(seller, payment, "close")
    assert (closed.json()["state"], closed.json()["closed_reason"]) == ("closed", "merchant")
    assert shop.acquirer.scan(payment["next_action"]["code"]) == "FAILED"
    paid = await scan(seller)
    await refused(shop, act(seller, paid, "close"), "payments.state_conflict")
    assert await seller.balances(shop.platform) == PAID


async def test_close_of_what_was_just_paid_ends_paid(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    shop.acquirer.scan(payment["next_action"]["code"])
    await act(seller, payment, "close")
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID


async def test_late_money_is_booked_announced_and_returned(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    assert (await act(seller, payment, "close")).json()["state"] == "closed"
    [sale, *_] = await shop.transactions(payment["id"])
    told = {"key": sale["id"], "kind": "sale", "status": "SUCCESS", "amount_minor": 8_200, "reference": "late"}
    # The acquirer has taken the money after all, whatever it said to the close.
    with shop.acquirer.book.transaction():
        entry = shop.acquirer.book.entry("M1", sale["id"])
        assert entry is not None
        entry.status = "SUCCESS"
        shop.acquirer.book.save(entry)
        shop.acquirer.book.move(entry, kind="sale", amount_minor=8_200, now=shop.clock.now())
    assert (await shop.tell(seller, notice_id="late1", **told)).status_code == 200
    assert await seller.balances(shop.platform) == {"channel_receivable": -8_200, "unapplied": 8_200}
    assert (await shop.tell(seller, notice_id="late2", **told)).status_code == 200
    shop.acquirer.is_down = True
    await shop.work_for(seller)
    assert await seller.balances(shop.platform) == {"channel_receivable": -8_200, "unapplied": 8_200}
    shop.acquirer.is_down = False
    shop.later(minutes=1)
    await shop.work_for(seller)
    assert await seller.balances(shop.platform) == {}
    assert (await shop.events(seller, payment["id"]))[-2:] == ["payment.closed", "payment.late_money_received"]
    assert (await read(seller, payment))["state"] == "closed"
    assert await shop.due_rows(seller) == []


async def test_contradicted_outcome_moves_nothing(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    [sale] = await shop.transactions(payment["id"])
    told = {"key": sale["id"], "kind": "sale", "status": "FAILED", "code": "BALANCE_NOT_ENOUGH"}
    assert (await shop.tell(seller, notice_id="no", **told)).status_code == 200
    assert await seller.balances(shop.platform) == PAID
    assert (await read(seller, payment))["state"] == "captured"
    assert (await shop.events(seller, payment["id"]))[-1] == "payment.outcome_contradicted"
    declined = await scan(seller, "decline_balance")
    [sale] = await shop.transactions(declined["id"])
    told = {"key": sale["id"], "kind": "sale", "status": "SUCCESS", "amount_minor": 8_200}
    await shop.tell(seller, notice_id="yes", **told)
    assert (await read(seller, declined))["state"] == "created"
    assert await seller.balances(shop.platform) == PAID
    assert (await shop.events(seller, declined["id"]))[-1] == "payment.outcome_contradicted"


async def test_paid_while_a_cancel_is_in_doubt_is_returned_once(shop: Shop, seller: Till) -> None:
    """The sale's notice overtakes the cancel's lost answer: what came in stays held until the cancel's outcome is
    known.
    """
    payment = await show_qr(seller)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.scan(payment["next_action"]["code"])
    shop.acquirer.script("silent", operation="cancel", subject=sale["id"])
    assert (await act(seller, payment, "cancel")).json()["state"] == "unknown"
    assert await shop.deliver(seller) == [200]
    assert (await seller.balances(shop.platform))["channel_receivable"] == -8_200
    await refused(shop, refund(seller, payment, "r1", 1), "payments.outcome_unknown")
    shop.later(seconds=10)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "canceled"
    assert await seller.balances(shop.platform) == {}
    assert await shop.pending(seller) == {}
    keys = {t["id"] for t in await shop.transactions(payment["id"])}
    assert shop.acquirer.collected(keys) == 0


async def test_losing_writer_never_cancels_the_winner(shop: Shop, seller: Till) -> None:
    """An answer that comes after a cancel has won changes nothing any more."""

    async def canceled_meanwhile() -> None:
        answer = await seller.post("/payments/cancel", {"out_trade_no": "winner"})
        assert answer.json()["state"] == "canceled", answer.text

    shop.acquirer.after["pay"] = canceled_meanwhile
    payment = await scan(seller, out_trade_no="winner")
    assert payment["state"] == "canceled"
    assert await seller.balances(shop.platform) == {}
    keys = {t["id"] for t in await shop.transactions(payment["id"])}
    assert shop.acquirer.collected(keys) == 0
    assert "payment.outcome_contradicted" not in await shop.events(seller, payment["id"])


@pytest.mark.parametrize("name", ["refunds", "cancel", "capture"])
@pytest.mark.parametrize("where", ["before", "after"])
async def test_crash_in_an_act_is_finished_by_the_janitor(shop: Shop, seller: Till, name: str, where: str) -> None:
    payment = await scan(seller, is_capture=name != "capture")

    async def die() -> None:
        raise Crash

    operation = {"refunds": "refund"}.get(name, name)
    getattr(shop.acquirer, where)[operation] = die
    body = {"refunds": {"out_request_no": "r1", "amount_minor": 8_200}, "capture": {"out_request_no": "c1"}}
    with pytest.raises(Crash):
        await act(seller, payment, name, **body.get(name, {}))
    shop.later(seconds=10)
    await shop.work_for(seller)
    assert await seller.balances(shop.platform) == (PAID if name == "capture" else {})
    assert await shop.pending(seller) == {}
    keys = {t["id"] for t in await shop.transactions(payment["id"])}
    assert all(shop.acquirer.moved().get(key, 0) <= 1 for key in keys)
    assert shop.acquirer.collected(keys) == (8_200 if name == "capture" else 0)
