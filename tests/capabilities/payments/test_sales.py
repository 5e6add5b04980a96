"""Sales by code and by QR: paid, declined, slow to be paid, unknown, and what the books say each time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from platform_core.capabilities.payments import service
from platform_core.capabilities.payments.fees import FeeTerms
from platform_core.contracts.payments import ErrorClass, Notice, NoticeOutcome, NoticeRefused, RetryRule
from tests.capabilities.payments.acquirer import Crash, DirectProvider
from tests.capabilities.payments.shop import Shop
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
PAID = {"channel_receivable": -8_200, "merchant_pending": 8_151, "platform_fee": 49}
CODE = {"form": "merchant_scan"}


async def scan(till: Till, scenario: str = "success", **fields: Any) -> dict[str, Any]:
    """A sale by the customer's code; `key` makes the one-use code another one each time."""
    code = f"sim:{scenario}:{next(till.keys)}.{till.merchant_id[-12:]}"
    answer = await till.pay(form="merchant_scan", auth_code=code, **fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def show_qr(till: Till, **fields: Any) -> dict[str, Any]:
    answer = await till.pay(form="customer_scan", **fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def read(till: Till, payment: dict[str, Any], expand: str = "") -> dict[str, Any]:
    answer = await till.get(f"/payments/{payment['id']}" + (f"?expand={expand}" if expand else ""))
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_scanned_code_is_captured(shop: Shop, seller: Till) -> None:
    payment = await scan(seller)
    assert payment["state"] == "captured"
    assert payment["amounts"] == {
        "order_minor": 8_200,
        "discount_merchant_minor": 0,
        "payable_minor": 8_200,
        "authorized_minor": 0,
        "capturable_minor": 0,
        "captured_minor": 8_200,
        "refunded_minor": 0,
        "refundable_minor": 8_200,
        "disputed_minor": 0,
        "fee_minor": 49,
        "split_minor": 0,
        "net_minor": 8_151,
    }
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]
    assert [row.kind for row in await shop.due_rows(seller)] == ["payments.settle"]


async def test_qr_is_paid_by_the_buyers_notice_and_a_second_delivery_changes_nothing(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    assert payment["state"] == "processing"
    assert payment["next_action"]["type"] == "show_qr"
    assert await seller.balances(shop.platform) == {}
    assert shop.acquirer.scan(payment["next_action"]["code"], "duplicate_callback") == "SUCCESS"
    assert await shop.deliver(seller) == [200, 200, 200]
    paid = await read(seller, payment)
    assert (paid["state"], paid["next_action"]) == ("captured", None)
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]
    [stored] = await shop.fetch("SELECT count(*) FROM pay_notice WHERE merchant_id = $1", seller.merchant_id)
    assert stored[0] == 1


@pytest.mark.parametrize("order", [1, -1])
async def test_notices_in_any_order_give_one_state(shop: Shop, seller: Till, order: int) -> None:
    payment = await show_qr(seller)
    shop.acquirer.scan(payment["next_action"]["code"], "unordered_callback")
    assert await shop.deliver(seller, order=order) == [200, 200]
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]


async def test_notice_before_the_answer(shop: Shop, seller: Till) -> None:
    async def told() -> None:
        assert await shop.deliver(seller) == [200]

    shop.acquirer.after["pay"] = told
    payment = await scan(seller)
    assert payment["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]


async def test_notice_that_is_not_genuine_changes_nothing(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    shop.acquirer.scan(payment["next_action"]["code"])
    before = await shop.counts()
    [notice] = [n for n in shop.acquirer.notices() if n.url.endswith(seller.channel_account_id)]
    path = f"/v1/notices/simulated_acquirer/{seller.channel_account_id}"
    refused = await shop.client.post(path, content=notice.body)
    assert (refused.status_code, refused.json()["code"]) == (400, "payments.notice_refused")
    for wrong in ("/v1/notices/cash/" + seller.channel_account_id, path[:-1] + "%00", path[:-26] + "0" * 26):
        answer = await shop.client.post(wrong, content=notice.body, headers={"x-genuine": "yes"})
        assert (answer.status_code, answer.json()["code"]) == (404, "payments.not_found"), wrong
    assert await shop.counts() == before
    assert (await read(seller, payment))["state"] == "processing"


async def test_notice_about_another_merchants_transaction_is_refused(shop: Shop, seller: Till) -> None:
    other = await shop.new_till()
    payment = await show_qr(other)
    [transaction] = await shop.transactions(payment["id"])
    answer = await shop.tell(
        seller, notice_id="n1", key=transaction["id"], kind="sale", status="SUCCESS", amount_minor=8_200
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "payments.notice_refused")
    assert await other.balances(shop.platform) == {}


async def test_one_notice_address_form(shop: Shop, seller: Till) -> None:
    await show_qr(seller)
    [entry] = [e for e in shop.acquirer.book.entries() if seller.channel_account_id in e.notify_url]
    assert entry.notify_url == (f"http://127.0.0.1:8080/v1/notices/simulated_acquirer/{seller.channel_account_id}")


async def test_failed_attempt_is_visible(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "decline_balance")
    assert (payment["state"], payment["last_error"]["class"]) == ("created", "declined_final")
    shown = await read(seller, payment, "attempts,transactions,refunds")
    [attempt], [transaction] = shown["attempts"], shown["transactions"]
    assert (attempt["state"], attempt["error"]["code"]) == ("failed", "BALANCE_NOT_ENOUGH")
    assert attempt["route"] == {"rule_id": None, "preferred": None, "offered": [seller.channel_account_id]}
    assert (transaction["kind"], transaction["state"], transaction["attempt_id"]) == ("sale", "failed", attempt["id"])
    assert shown["refunds"] == []
    assert await seller.balances(shop.platform) == {}
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.attempt_failed"]


async def test_third_decline_closes(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "decline_balance")
    for number in (2, 3):
        body = {"form": "merchant_scan", "auth_code": f"sim:decline_code:{number}{seller.merchant_id[-9:]}"}
        answer = await seller.post(f"/payments/{payment['id']}/attempts", body)
        assert answer.status_code == 201, answer.text
    assert (answer.json()["state"], answer.json()["closed_reason"]) == ("closed", "declined")
    again = await seller.post(f"/payments/{payment['id']}/attempts", body)
    assert (again.status_code, again.json()["code"]) == (409, "payments.state_conflict")
    assert await shop.due_rows(seller) == []
    assert await seller.balances(shop.platform) == {}


async def test_customer_is_paying_then_paid(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "paying-2")
    assert (payment["state"], payment["next_action"]) == ("processing", {"type": "wait", "poll_after_s": 5})
    shop.later(seconds=5)
    assert await shop.work_for(seller) == 1
    assert (await seller.post(f"/payments/{payment['id']}/attempts", {"form": "local"})).status_code == 409
    shop.later(seconds=5)
    assert await shop.work_for(seller) == 1
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]


async def test_customer_never_pays_and_the_attempt_is_canceled_there(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "paying_never")
    for _ in range(12):
        shop.later(seconds=5)
        assert await shop.work_for(seller) == 1
    shown = await read(seller, payment, "attempts,transactions")
    assert (shown["state"], shown["last_error"]["code"]) == ("created", "not_completed")
    assert [attempt["state"] for attempt in shown["attempts"]] == ["canceled"]
    assert [(t["kind"], t["state"]) for t in shown["transactions"]] == [("sale", "failed"), ("cancel", "succeeded")]
    assert await seller.balances(shop.platform) == {}
    again = await seller.post(
        f"/payments/{payment['id']}/attempts", {"form": "merchant_scan", "auth_code": f"sim:success:{payment['id']}"}
    )
    assert again.json()["state"] == "captured"
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.attempt_failed", "payment.captured"]
    assert await seller.balances(shop.platform) == PAID


async def test_timeout_after_the_charge_is_unknown_and_captured_once(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "silent")
    assert (payment["state"], payment["last_error"]["class"]) == ("unknown", "unknown")
    assert await seller.balances(shop.platform) == {}
    [transaction] = await shop.transactions(payment["id"])
    for path, body in (("/capture", {"out_request_no": "c1"}), ("/attempts", {"form": "local"})):
        refused = await seller.post(f"/payments/{payment['id']}{path}", body)
        assert (refused.status_code, refused.json()["code"]) == (409, "payments.outcome_unknown")
        assert refused.headers["retry-after"] == "5"
    shop.later(seconds=10)
    assert await shop.work_for(seller) == 1
    assert (await read(seller, payment))["state"] == "captured"
    assert shop.acquirer.moved()[transaction["id"]] == 1
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == [
        "payment.created",
        "payment.unknown_entered",
        "payment.unknown_resolved",
        "payment.captured",
    ]


async def test_unknown_first_attempt_blocks_a_second(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "timeout_before_charge")
    assert payment["state"] == "unknown"
    refused = await seller.post(f"/payments/{payment['id']}/attempts", {"form": "local"})
    assert (refused.status_code, refused.json()["code"]) == (409, "payments.outcome_unknown")
    shop.later(seconds=10)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "unknown"
    shop.later(seconds=30)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "created"
    assert shop.acquirer.moved().keys().isdisjoint({t["id"] for t in await shop.transactions(payment["id"])})


async def test_unknown_is_never_declared_failed(shop: Shop, seller: Till) -> None:
    """The acquirer cannot be reached, is busy, or answers rubbish: all of that says nothing of the sale."""
    payment = await scan(seller, "silent")
    [transaction] = await shop.transactions(payment["id"])
    shop.acquirer.is_down = True
    shop.later(seconds=10)
    await shop.work_for(seller)
    shop.acquirer.is_down = False
    for scenario in ("busy", "timeout_before_charge", "broken_body"):
        shop.acquirer.script(scenario, operation="query", subject=transaction["id"])
        shop.later(hours=6)
        await shop.work_for(seller)
        assert (await shop.transactions(payment["id"]))[0]["state"] == "unknown", scenario
    assert await seller.balances(shop.platform) == {}
    shop.later(hours=24)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID


async def test_wrong_amount_is_unknown_until_the_truth_shows(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "wrong_amount")
    assert (payment["state"], payment["last_error"]["code"]) == ("unknown", "amount_differs")
    assert await seller.balances(shop.platform) == {}
    shop.later(seconds=10)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID


@pytest.mark.parametrize("where", ["before", "after"])
async def test_crash_after_provider_success_charges_once(shop: Shop, seller: Till, where: str) -> None:
    async def die() -> None:
        raise Crash

    getattr(shop.acquirer, where)["pay"] = die
    number = f"crash_{seller.merchant_id[-8:]}"
    code = f"sim:success:crash.{where}.{seller.merchant_id[-8:]}"
    body = {"out_trade_no": number, "form": "merchant_scan", "auth_code": code}
    with pytest.raises(Crash):
        await seller.pay(**body, key="crash")
    shown = (await seller.get(f"/payments/out_trade_no:{number}")).json()
    assert shown["state"] == "processing"
    for _ in range(2):
        shop.later(seconds=30)
        await shop.work_for(seller)
    shown = (await seller.get(f"/payments/out_trade_no:{number}")).json()
    moved = [key for key in shop.acquirer.moved() if key in {t["id"] for t in await shop.transactions(shown["id"])}]
    assert shown["state"] == ("captured" if where == "after" else "created")
    assert len(moved) == (1 if where == "after" else 0)
    assert await seller.balances(shop.platform) == (PAID if where == "after" else {})
    replayed = await seller.pay(**body, key="crash")
    assert (replayed.status_code, replayed.json()["state"]) == (202, shown["state"])


async def test_stuck_processing_heals_on_read(shop: Shop, seller: Till) -> None:
    payment = await scan(seller, "silent")
    shop.later(seconds=4)
    assert (await read(seller, payment))["state"] == "unknown"
    shop.later(seconds=1)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID


async def test_lost_qr_code_comes_back(shop: Shop, seller: Till) -> None:
    for scenario in ("timeout_after_charge", "timeout_before_charge"):
        number = f"lost_{scenario}"
        shop.acquirer.script(scenario, operation="precreate", subject=number)
        payment = await show_qr(seller, out_trade_no=number)
        assert (payment["state"], payment["next_action"]) == ("unknown", None)
        shop.later(seconds=10)
        await shop.work_for(seller)
        shown = await read(seller, payment)
        assert (shown["state"], shown["next_action"]["type"]) == ("processing", "show_qr")
        shop.acquirer.scan(shown["next_action"]["code"])
        await shop.deliver(seller)
        assert (await read(seller, payment))["state"] == "captured"
    assert (await seller.balances(shop.platform))["channel_receivable"] == -16_400


async def test_qr_expires_at_the_provider_first(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    shop.later(hours=2)
    await shop.work_for(seller, rounds=2)
    shown = await read(seller, payment, "transactions")
    assert (shown["state"], shown["closed_reason"]) == ("closed", "expired")
    assert ("sale", "failed") in [(t["kind"], t["state"]) for t in shown["transactions"]]
    assert shop.acquirer.scan(payment["next_action"]["code"]) == "FAILED"
    assert await shop.due_rows(seller) == []
    assert await seller.balances(shop.platform) == {}


async def test_paid_at_the_last_moment_is_no_expiry(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    shop.acquirer.scan(payment["next_action"]["code"])
    shop.later(hours=2)
    await shop.work_for(seller, rounds=3)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID


async def test_retry_is_a_new_attempt_on_the_new_route(shop: Shop, seller: Till) -> None:
    second = await shop.add_second(seller)
    shop.later(seconds=2)
    shop.acquirer.script("decline_channel", operation="precreate", subject="failover")
    payment = await show_qr(seller, out_trade_no="failover")
    assert payment["state"] == "processing"
    shown = await read(seller, payment, "attempts")
    assert [(a["state"], a["channel_account_id"]) for a in shown["attempts"]] == [
        ("failed", seller.channel_account_id),
        ("waiting_customer", second),
    ]
    assert shop.second.scan(payment["next_action"]["code"]) == "SUCCESS"
    shop.later(seconds=30)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.attempt_failed", "payment.captured"]


async def test_final_decline_does_not_fail_over(shop: Shop, seller: Till) -> None:
    await shop.add_second(seller)
    shop.later(seconds=2)
    shop.acquirer.script("decline_balance", operation="precreate", subject="final")
    payment = await show_qr(seller, out_trade_no="final")
    assert len((await read(seller, payment, "attempts"))["attempts"]) == 1
    assert payment["state"] == "created"


async def test_busy_provider_is_asked_again_under_the_same_key(shop: Shop, seller: Till) -> None:
    shop.acquirer.script("busy", operation="pay", subject="busy_1", times=2)
    waits: list[float] = []
    desk = shop.platform.payments.service._desk

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    object.__setattr__(desk.tools, "sleep", sleep)
    payment = await scan(seller, out_trade_no="busy_1")
    assert (payment["state"], waits) == ("captured", [0.2, 1.0])
    [transaction] = await shop.transactions(payment["id"])
    assert [call for call in shop.acquirer.calls if call[1] == transaction["id"]] == [("pay", transaction["id"])] * 3
    assert shop.acquirer.moved()[transaction["id"]] == 1


@pytest.mark.parametrize(
    ("terms", "fees"),
    [
        (FeeTerms(rate_bp=60), {1: 0, 83: 0, 84: 1, 8_200: 49, 100_000: 600}),
        (FeeTerms(rate_bp=60, fixed_minor=30), {1: 1, 30: 30, 8_200: 79}),
        (FeeTerms(rate_bp=100, fee_minor_min=50, fee_minor_max=200), {10: 10, 100: 50, 8_200: 82, 50_000: 200}),
    ],
)
async def test_fee_is_rounded_bounded_and_never_above_the_amount(
    shop: Shop, terms: FeeTerms, fees: dict[int, int]
) -> None:
    till = await shop.new_till()
    shop.later(seconds=2)
    await shop.platform.payment_setup.set_fee_plan(till.merchant_id, currency="CNY", terms=terms)
    shop.later(seconds=2)
    for amount, fee in fees.items():
        payment = await scan(till, order_minor=amount)
        assert payment["amounts"]["fee_minor"] == fee, amount
    total = sum(fees)
    assert await till.balances(shop.platform) == {
        name: value
        for name, value in {
            "channel_receivable": -total,
            "merchant_pending": total - sum(fees.values()),
            "platform_fee": sum(fees.values()),
        }.items()
        if value
    }


async def test_event_carries_the_state_of_its_commit(shop: Shop, seller: Till) -> None:
    payment = await show_qr(seller)
    shop.acquirer.scan(payment["next_action"]["code"])
    assert await shop.deliver(seller) == [200]
    assert (
        await seller.post(f"/payments/{payment['id']}/refunds", {"out_request_no": "r", "amount_minor": 4_100})
    ).is_success
    rows = await shop.fetch(
        "SELECT type, sequence, body FROM outbox WHERE object_id = $1 ORDER BY sequence", payment["id"]
    )
    told = [json.loads(row["body"]) for row in rows]
    assert [(row["type"], row["sequence"]) for row in rows] == [
        ("payment.created", 1),
        ("payment.captured", 2),
        ("refund.created", 3),
        ("refund.succeeded", 4),
    ]
    assert [body["state"] for body in told] == ["processing", "captured", "pending", "succeeded"]
    assert [body["amounts"]["captured_minor"] for body in told[:2]] == [0, 8_200]
    assert told[1]["amounts"]["refunded_minor"] == 0, "what came later is not told earlier"
    assert (await read(seller, payment))["amounts"]["refunded_minor"] == 4_100


async def test_notice_parser_gets_headers_and_raw_body(
    shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[Notice] = []

    async def parse(provider: DirectProvider, notice: Notice) -> NoticeOutcome:
        got.append(notice)
        raise NoticeRefused("bad_signature", "The notice has no valid signature.")

    monkeypatch.setattr(DirectProvider, "parse_notice", parse)
    raw = b'{ "b":1,\r\n "a" : "\xe9\x92\xb1", "a":2 }\x00'
    path = f"/v1/notices/simulated_acquirer/{seller.channel_account_id}"
    headers = {"Content-Type": "text/plain; charset=gbk", "X-Signature": "abc=="}
    answer = await shop.client.post(path, content=raw, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "payments.notice_refused")
    [notice] = got
    assert notice.raw_body == raw, "to the byte, whatever it holds"
    assert (notice.headers["content-type"], notice.headers["x-signature"]) == ("text/plain; charset=gbk", "abc==")


async def test_retry_policy_is_data(shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked() -> int:
        before = len(shop.acquirer.calls)
        await scan(seller, "busy")
        return len(shop.acquirer.calls) - before

    patient = await asked()
    rules = {**service.RETRY_RULES, ErrorClass.BUSY: RetryRule(same_after_s=(), may_try_other=False)}
    monkeypatch.setattr(service, "RETRY_RULES", rules)
    assert (patient, await asked()) == (3, 1)
