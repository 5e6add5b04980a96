"""What plugins say of an order: before anything is committed, and nothing of it after a refusal but the refusal."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from platform_core.capabilities.payments.screening import Taken
from platform_core.contracts.payments import Basket, PaymentToCheck, RefundToCheck, RoutingQuestion
from platform_core.contracts.results import Verdict
from platform_core.kernel.commit import Audit
from tests.capabilities.payments.plugins import Script
from tests.capabilities.payments.shop import Shop
from tests.support.world import SCOPES, Till

pytestmark = [pytest.mark.api, pytest.mark.database]

BASKET = {
    "lines": [
        {"line_id": "1", "sku": "latte", "name": "Latte", "quantity": 2, "unit_minor": 3_000},
        {"line_id": "2", "sku": "bun", "name": "Bun", "quantity": 1, "unit_minor": 2_200},
    ]
}
LATE = {"plugin_id": "example.late", "version": "1.0.0", "hook": "check_payment", "fault": "timeout"}


def allow(_: Any) -> Verdict:
    return Verdict.allow(score=3)


def review(_: Any) -> Verdict:
    return Verdict.review("odd-hour", "It is three in the morning.")


def deny(_: Any) -> Verdict:
    return Verdict.deny("velocity", "The ninth payment of this device in a minute.")


def ten_off(_: Basket) -> list[Taken]:
    return [Taken("example.ten", "10-off", "10 off", "merchant", None, 1_000)]


@pytest.fixture
async def reviewer(shop: Shop) -> Till:
    """A merchant whose app may also end reviews."""
    return await shop.new_till(scopes=(*SCOPES, "risk.cases:write"))


def script(shop: Shop, till: Till, **said: Any) -> Script:
    shop.plugins.scripts[till.merchant_id] = made = Script(**said)
    return made


def code(scenario: str = "success") -> str:
    """A customer's code, good once."""
    return f"sim:{scenario}:{uuid.uuid4().hex}"


def grown(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    """Which tables have more rows, the writer's own book of batches aside."""
    return {name: n - before[name] for name, n in after.items() if n != before[name] and name != "commit_batch"}


def code_of(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


async def test_a_denied_payment_is_stored_closed_and_nobody_is_asked_for_money(shop: Shop, seller: Till) -> None:
    script(shop, seller, judge=deny)
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    body = {"out_trade_no": "denied_1", "form": "merchant_scan", "auth_code": code()}
    answer = await seller.pay(key="k1", **body)
    assert code_of(answer) == (403, "payments.denied_by_risk")
    assert "velocity" in answer.json()["detail"]
    assert len(shop.acquirer.calls) == calls
    after = await shop.counts()
    assert grown(before, after) == {"pay_payment": 1, "outbox": 2}, "no money, no key, no due work"
    payment = (await seller.get("/payments/out_trade_no:denied_1")).json()
    assert (payment["state"], payment["closed_reason"]) == ("closed", "denied_by_risk")
    assert payment["risk"] == {
        "verdict": "deny",
        "score": 100,
        "reasons": [{"rule_id": "velocity", "text": "The ninth payment of this device in a minute."}],
    }
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.closed"]
    shop.plugins.scripts.clear()
    repeated = await seller.pay(key="k1", **body)
    assert code_of(repeated) == (403, "payments.denied_by_risk"), "the same request is the same order"
    assert grown(after, await shop.counts()) == {}


async def test_a_payment_in_review_waits_and_is_paid_by_a_new_attempt(shop: Shop, reviewer: Till) -> None:
    script(shop, reviewer, judge=review)
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    auth_code = code()
    answer = await reviewer.pay(form="merchant_scan", auth_code=auth_code, key="r1")
    assert (answer.status_code, answer.json()["state"]) == (201, "in_review")
    assert (
        await reviewer.pay(
            out_trade_no=answer.json()["out_trade_no"], form="merchant_scan", auth_code=auth_code, key="r1"
        )
    ).json() == answer.json()
    after = await shop.counts()
    assert grown(before, after) == {"pay_payment": 1, "outbox": 2, "idempotency": 1, "due": 1}
    assert len(shop.acquirer.calls) == calls
    id_ = answer.json()["id"]
    assert code_of(await reviewer.post(f"/payments/{id_}/attempts", {"form": "local"})) == (
        409,
        "payments.state_conflict",
    )
    said = {"decision": "allow", "reason": "The customer is known to us."}
    decided = await reviewer.post(f"/payments/{id_}/review", said, key="r2")
    assert (decided.json()["state"], decided.json()["risk"]["decided_as"]) == ("created", "allow")
    assert (await reviewer.post(f"/payments/{id_}/review", said, key="r2")).json() == decided.json()
    assert code_of(await reviewer.post(f"/payments/{id_}/review", said)) == (409, "payments.state_conflict")
    [told] = await shop.fetch("SELECT * FROM audit_row WHERE kind = 'payment.review_decided' AND subject = $1", id_)
    assert (told["reason"], told["merchant_id"]) == ("The customer is known to us.", reviewer.merchant_id)
    script(shop, reviewer, judge=allow)
    paid = await reviewer.post(f"/payments/{id_}/attempts", {"form": "merchant_scan", "auth_code": code()})
    assert paid.json()["state"] == "captured", paid.text
    assert await shop.events(reviewer, id_) == [
        "payment.created",
        "payment.review_started",
        "payment.review_decided",
        "payment.captured",
    ]


async def test_a_review_ends_in_denial_expiry_or_cancel_without_a_provider(shop: Shop, reviewer: Till) -> None:
    script(shop, reviewer, judge=review)
    calls = len(shop.acquirer.calls)
    ids = [(await reviewer.pay(form="merchant_scan", auth_code=code())).json()["id"] for _ in range(4)]
    await reviewer.post(f"/payments/{ids[0]}/review", {"decision": "deny", "reason": "A stolen card."})
    await reviewer.post(f"/payments/{ids[1]}/cancel", {})
    await reviewer.post(f"/payments/{ids[2]}/close", {})
    shop.later(minutes=6)
    await shop.work_for(reviewer)
    found = [(await reviewer.get(f"/payments/{id_}")).json() for id_ in ids]
    assert [(payment["state"], payment["closed_reason"]) for payment in found] == [
        ("closed", "denied_by_risk"),
        ("canceled", None),
        ("closed", "merchant"),
        ("closed", "expired"),
    ]
    assert len(shop.acquirer.calls) == calls
    assert await shop.due_rows(reviewer) == []


async def test_only_whoever_decides_cases_ends_a_review(shop: Shop, seller: Till) -> None:
    script(shop, seller, judge=review)
    id_ = (await seller.pay()).json()["id"]
    before = await shop.counts()
    answer = await seller.post(f"/payments/{id_}/review", {"decision": "allow", "reason": "me"})
    assert code_of(answer) == (403, "identity.scope_missing")
    assert grown(before, await shop.counts()) == {}


async def test_a_further_attempt_is_checked_again(shop: Shop, seller: Till) -> None:
    """Allowed at first, declined by the wallet, and refused the second time: no provider is asked any more."""
    asked = script(shop, seller, judge=allow)
    first = (await seller.pay(form="merchant_scan", auth_code=code("decline_balance"))).json()
    assert first["state"] == "created", first
    calls = len(shop.acquirer.calls)
    asked.judge = deny
    answer = await seller.post(
        f"/payments/{first['id']}/attempts",
        {"form": "merchant_scan", "auth_code": code(), "risk_context": {"client_ip": "203.0.113.9"}},
    )
    assert code_of(answer) == (403, "payments.denied_by_risk")
    assert len(shop.acquirer.calls) == calls
    last = asked.asked[-1]
    assert isinstance(last, PaymentToCheck)
    assert (last.attempt, last.client_ip) == (2, "203.0.113.9")
    found = (await seller.get(f"/payments/{first['id']}")).json()
    assert (found["state"], found["closed_reason"]) == ("closed", "denied_by_risk")
    assert await shop.events(seller, first["id"]) == ["payment.created", "payment.attempt_failed", "payment.closed"]


async def test_a_further_attempt_may_be_held_too(shop: Shop, seller: Till) -> None:
    asked = script(shop, seller, judge=allow)
    first = (await seller.pay(form="merchant_scan", auth_code=code("decline_balance"))).json()
    asked.judge = review
    answer = await seller.post(f"/payments/{first['id']}/attempts", {"form": "local"}, key="a2")
    assert (answer.status_code, answer.json()["state"]) == (201, "in_review")
    assert (await seller.post(f"/payments/{first['id']}/attempts", {"form": "local"}, key="a2")).json() == answer.json()


async def test_discounts_come_off_and_the_customer_pays_the_rest(shop: Shop, seller: Till) -> None:
    asked = script(shop, seller, take=ten_off)
    answer = await seller.pay(order_minor=None, basket=BASKET, expected_payable_minor=7_200)
    assert answer.status_code == 201, answer.text
    payment = answer.json()
    assert payment["amounts"]["order_minor"] == 8_200
    assert payment["amounts"]["discount_merchant_minor"] == 1_000
    assert payment["amounts"]["payable_minor"] == payment["amounts"]["captured_minor"] == 7_200
    assert payment["discounts"] == [
        {
            "plugin_id": "example.ten",
            "rule_id": "10-off",
            "label": "10 off",
            "funder": "merchant",
            "line_id": None,
            "amount_minor": 1_000,
        }
    ]
    basket = asked.asked[0]
    assert isinstance(basket, Basket)
    assert [(line.line_id, line.quantity, line.unit_minor) for line in basket.lines] == [
        ("1", 2, 3_000),
        ("2", 1, 2_200),
    ]
    assert (await seller.balances(shop.platform))["merchant_till"] == 7_200 - payment["amounts"]["fee_minor"]


async def test_a_customer_who_was_told_another_sum_is_not_charged(shop: Shop, seller: Till) -> None:
    script(shop, seller, take=ten_off)
    before = await shop.counts()
    answer = await seller.pay(order_minor=None, basket=BASKET, expected_payable_minor=8_200)
    assert code_of(answer) == (409, "payments.payable_changed")
    assert grown(before, await shop.counts()) == {}


async def test_an_order_that_discounts_pay_in_full_needs_no_network(shop: Shop, seller: Till) -> None:
    script(shop, seller, take=lambda basket: [Taken("example.all", "free", "Free", "merchant", None, 8_200)])
    calls = len(shop.acquirer.calls)
    answer = await seller.pay(order_minor=None, basket=BASKET, form="merchant_scan", auth_code=code())
    assert (answer.json()["state"], answer.json()["amounts"]["captured_minor"]) == ("captured", 0), answer.text
    assert answer.json()["amounts"]["fee_minor"] == 0
    assert len(shop.acquirer.calls) == calls
    assert await seller.balances(shop.platform) == {}


async def test_a_ranking_decides_who_is_tried_first_and_stays_on_the_attempt(shop: Shop, seller: Till) -> None:
    second = await shop.add_second(seller)
    asked = script(shop, seller, rank=lambda question: [second, seller.channel_account_id])
    answer = await seller.pay(form="customer_scan")
    payment = (await seller.get(f"/payments/{answer.json()['id']}?expand=attempts")).json()
    [attempt] = payment["attempts"]
    assert attempt["channel_account_id"] == second
    assert attempt["route"]["ranked_by"] == "example.ranks"
    assert attempt["route"]["ranked"] == [second, seller.channel_account_id]
    question = asked.asked[0]
    assert isinstance(question, RoutingQuestion)
    assert [route.provider_id for route in question.routes] == ["simulated_acquirer", "second_acquirer"]
    asked.rank = lambda question: None
    plain = await seller.pay(form="customer_scan")
    [attempt] = (await seller.get(f"/payments/{plain.json()['id']}?expand=attempts")).json()["attempts"]
    assert (attempt["channel_account_id"], "ranked_by" in attempt["route"]) == (seller.channel_account_id, False)


async def test_what_calls_left_behind_is_written_with_the_payment_or_not_at_all(shop: Shop, seller: Till) -> None:
    def parts() -> list[object]:
        return [Audit("payment.review_decided", "example.late", "trail", seller.merchant_id)]

    async def trails() -> int:
        [row] = await shop.fetch(
            "SELECT count(*) FROM audit_row WHERE subject = 'trail' AND merchant_id = $1", seller.merchant_id
        )
        return int(row[0])

    asked = script(shop, seller, judge=allow, degraded=[LATE], parts=parts)
    paid = await seller.pay(out_trade_no="trail_1")
    assert paid.json()["degraded"] == [LATE]
    assert paid.json()["risk"]["score"] == 3
    assert await trails() == 1
    shop.plugins.forsaken.clear()
    assert (await seller.pay(out_trade_no="trail_1", key="again")).status_code == 200
    assert await trails() == 1, "the second one's plan was refused, and the trail with it"
    assert len(shop.plugins.forsaken) == 1, "its account is handed back to whoever keeps it"
    asked.judge = deny
    await seller.pay()
    assert await trails() == 2, "a refusal keeps what led to it"
    assert len(shop.plugins.forsaken) == 1


async def test_a_denied_refund_moves_nothing(shop: Shop, seller: Till) -> None:
    asked = script(shop, seller, judge_refund=deny)
    id_ = (await seller.pay(form="merchant_scan", auth_code=code())).json()["id"]
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    body = {"out_request_no": "r1", "amount_minor": 1_000, "reason": "cold"}
    answer = await seller.post(f"/payments/{id_}/refunds", body, key="d1")
    assert code_of(answer) == (403, "payments.refund_denied")
    assert grown(before, await shop.counts()) == {}
    assert len(shop.acquirer.calls) == calls
    told = asked.asked[-1]
    assert isinstance(told, RefundToCheck)
    assert (told.amount.amount_minor, told.refundable_minor, told.reason_code) == (1_000, 8_200, "cold")
    assert told.refunds_30d is not None
    assert (told.refunds_30d.count, told.refunds_30d.sum.amount_minor) == (0, 0)
    asked.judge_refund = allow
    assert (await seller.post(f"/payments/{id_}/refunds", body, key="d2")).json()["state"] == "succeeded"
    await seller.post(f"/payments/{id_}/refunds", {"out_request_no": "r2", "amount_minor": 500}, key="d3")
    told = asked.asked[-1]
    assert isinstance(told, RefundToCheck)
    assert told.refunds_30d is not None
    assert (told.refunds_30d.count, told.refunds_30d.sum.amount_minor) == (1, 1_000)


async def test_a_refund_in_doubt_is_made_by_whoever_decides_cases(shop: Shop, seller: Till, reviewer: Till) -> None:
    for till in (seller, reviewer):
        script(shop, till, judge_refund=review)
    body = {"out_request_no": "r1", "is_full": True}
    id_ = (await seller.pay()).json()["id"]
    before = await shop.counts()
    for key, sent in (("p1", body), ("p2", {**body, "review": {"reason": "I say so."}})):
        answer = await seller.post(f"/payments/{id_}/refunds", sent, key=key)
        assert code_of(answer) == (409, "payments.refund_needs_review"), "this till may not decide cases"
    assert grown(before, await shop.counts()) == {}
    id_ = (await reviewer.pay()).json()["id"]
    assert code_of(await reviewer.post(f"/payments/{id_}/refunds", body)) == (409, "payments.refund_needs_review")
    sent = {**body, "review": {"reason": "The customer showed the receipt."}}
    answer = await reviewer.post(f"/payments/{id_}/refunds", sent, key="ok")
    assert (answer.status_code, answer.json()["state"]) == (201, "succeeded"), answer.text
    [told] = await shop.fetch("SELECT * FROM audit_row WHERE kind = 'refund.review_decided' AND subject = $1", id_)
    assert told["reason"] == "The customer showed the receipt."
    shop.plugins.scripts[reviewer.merchant_id].judge_refund = deny
    again = await reviewer.post(f"/payments/{id_}/refunds", sent, key="again")
    assert (again.status_code, again.json()["state"]) == (200, "succeeded"), "what was made is not judged again"


async def test_what_led_to_a_refused_refund_is_kept(shop: Shop, seller: Till) -> None:
    def parts() -> list[object]:
        return [Audit("refund.review_decided", "example.late", "refused", seller.merchant_id)]

    script(shop, seller, judge_refund=deny, parts=parts)
    id_ = (await seller.pay()).json()["id"]
    await seller.post(f"/payments/{id_}/refunds", {"out_request_no": "r1", "is_full": True})
    rows = await shop.fetch("SELECT FROM audit_row WHERE subject = 'refused' AND merchant_id = $1", seller.merchant_id)
    assert len(rows) == 1
