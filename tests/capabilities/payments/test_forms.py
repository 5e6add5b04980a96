"""Pages, apps, mini programs and shown freezes: what is shown, what it brings, and when it ends."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_sales import PAID, read
from tests.support.world import ORIGIN, Till

pytestmark = [pytest.mark.api, pytest.mark.database]
BACK = "https://shop.example/thanks?order=7"


async def show(till: Till, form: str, **fields: Any) -> dict[str, Any]:
    answer = await till.pay(form=form, **fields)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def lead(payment: dict[str, Any]) -> str:
    """What the acquirer knows the shown order by."""
    action = payment["next_action"]
    return str(action.get("code") or action.get("payload") or action["url"].rpartition("/")[2])


def life(payment: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(payment["expires_at"]) - datetime.fromisoformat(payment["created_at"])


async def act(till: Till, payment: dict[str, Any], name: str, **body: Any) -> dict[str, Any]:
    answer = await till.post(f"/payments/{payment['id']}/{name}", {"out_request_no": f"{name}1", **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("form", "type_", "has_page"),
    [
        ("page", "redirect", True),
        ("wap", "redirect", True),
        ("app", "invoke_app", False),
        ("mini_program", "invoke_app", False),
    ],
)
async def test_what_is_shown_is_paid_once(shop: Shop, seller: Till, form: str, type_: str, has_page: bool) -> None:
    payment = await show(seller, form, return_url=BACK)
    assert (payment["state"], payment["form"], payment["next_action"]["type"]) == ("processing", form, type_)
    assert life(payment) == timedelta(minutes=15)
    assert (payment["pay_url"] or "").startswith(f"{ORIGIN}/pay/") == has_page
    [entry] = [e for e in shop.acquirer.book.entries() if e.qr_code == lead(payment)]
    assert entry.return_url == (payment["pay_url"] if has_page else BACK)
    assert shop.acquirer.scan(lead(payment)) == "SUCCESS"
    assert await shop.deliver(seller) == [200]
    assert (await read(seller, payment))["state"] == "captured"
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]


async def test_page_return_and_notice_capture_once(shop: Shop, seller: Till) -> None:
    """The browser is back and asks, while the acquirer's notice comes in, twice."""
    payment = await show(seller, "page")
    shop.acquirer.scan(lead(payment), "duplicate_callback")
    shop.later(seconds=6)
    path = payment["pay_url"].removeprefix(ORIGIN)
    *pages, told = await asyncio.gather(
        *(shop.client.get(f"{path}/state") for _ in range(3)), read(seller, payment), shop.deliver(seller)
    )
    assert told == [200, 200, 200]
    assert [page.status_code for page in pages[:3]] == [200, 200, 200]
    paid = await read(seller, payment, "attempts,transactions")
    assert (paid["state"], paid["amounts"]["captured_minor"], paid["amounts"]["fee_minor"]) == ("captured", 8_200, 49)
    [transaction] = paid["transactions"]
    assert (transaction["kind"], transaction["state"]) == ("sale", "succeeded")
    assert shop.acquirer.moved("sale")[transaction["id"]] == 1
    assert await seller.balances(shop.platform) == PAID
    assert await shop.events(seller, payment["id"]) == ["payment.created", "payment.captured"]


async def test_shown_order_is_in_flight_until_the_provider_ends_it(shop: Shop, seller: Till) -> None:
    payment = await show(seller, "wap")
    before = await shop.counts()
    answer = await seller.post(f"/payments/{payment['id']}/attempts", {"form": "customer_scan"})
    assert (answer.status_code, answer.json()["code"]) == (409, "payments.attempt_in_flight")
    after = await shop.counts()
    assert after == before
    with shop.acquirer.book.transaction():
        entry = shop.acquirer.wallet.page(lead(payment))
        assert entry is not None
        shop.acquirer.wallet.refuse(entry)
    assert await shop.deliver(seller) == [200]
    failed = await read(seller, payment)
    assert (failed["state"], failed["last_error"]["code"]) == ("created", "PAYER_REFUSED")
    again = await seller.post(f"/payments/{payment['id']}/attempts", {"form": "customer_scan"})
    assert again.json()["next_action"]["type"] == "show_qr"
    assert again.json()["pay_url"] == payment["pay_url"]
    assert shop.acquirer.scan(lead(payment)) == "FAILED"
    assert shop.acquirer.scan(lead(again.json())) == "SUCCESS"
    assert await shop.deliver(seller) == [200]
    assert await seller.balances(shop.platform) == PAID


async def test_unpaid_page_expires_at_the_provider_first(shop: Shop, seller: Till) -> None:
    payment = await show(seller, "page")
    shop.later(minutes=15, seconds=1)
    await shop.work_for(seller)
    closed = await read(seller, payment)
    assert (closed["state"], closed["closed_reason"], closed["next_action"]) == ("closed", "expired", None)
    assert shop.acquirer.scan(lead(payment)) == "FAILED"
    assert await seller.balances(shop.platform) == {}


@pytest.mark.parametrize(
    ("by", "type_", "minutes"), [("qr", "show_qr", 120), ("app", "invoke_app", 15), ("code", None, 5)]
)
async def test_freeze_is_let_in_captured_in_parts_and_unfrozen_in_parts(
    shop: Shop, seller: Till, by: str, type_: str | None, minutes: int
) -> None:
    code = {"auth_code": f"sim:success:{seller.merchant_id[-12:]}"} if by == "code" else {"freeze_by": by}
    payment = await show(seller, "preauth", order_minor=10_000, **code)
    assert (payment["form"], payment["freeze_by"]) == ("preauth", by)
    if type_ is not None:
        assert payment["next_action"]["type"] == type_
        assert life(payment) == timedelta(minutes=minutes)
        shop.acquirer.scan(lead(payment))
        assert await shop.deliver(seller) == [200]
        payment = await read(seller, payment)
    assert (payment["state"], payment["amounts"]["capturable_minor"]) == ("authorized", 10_000)
    assert await shop.pending(seller) == {"channel_receivable": 10_000}
    raised = await seller.post(f"/payments/{payment['id']}/capture", {"out_request_no": "c0", "amount_minor": 10_001})
    assert (raised.status_code, raised.json()["code"]) == (409, "payments.capture_exceeds_authorized")
    await act(seller, payment, "capture", amount_minor=3_000, is_final=False)
    await act(seller, payment, "void", amount_minor=2_000)
    last = await act(seller, payment, "capture", amount_minor=4_000, out_request_no="c2")
    assert (last["state"], last["amounts"]["captured_minor"], last["amounts"]["capturable_minor"]) == (
        "captured",
        7_000,
        0,
    )
    assert await seller.balances(shop.platform) == {
        "channel_receivable": -7_000,
        "merchant_pending": 6_958,
        "platform_fee": 42,
    }
    assert await shop.pending(seller) == {}
    assert [row.kind for row in await shop.due_rows(seller)] == ["payments.settle"]


@pytest.mark.parametrize("captured", [0, 4_000])
async def test_frozen_money_is_let_go_after_thirty_days(shop: Shop, seller: Till, captured: int) -> None:
    payment = await show(seller, "preauth", order_minor=10_000, freeze_by="qr")
    shop.acquirer.scan(lead(payment))
    await shop.deliver(seller)
    payment = await read(seller, payment)
    assert datetime.fromisoformat(payment["expires_at"]) == shop.clock.now() + timedelta(days=30)
    if captured:
        await act(seller, payment, "capture", amount_minor=captured, is_final=False)
    shop.later(days=29, hours=23)
    await shop.work_for(seller)
    assert (await read(seller, payment))["state"] == "authorized"
    shop.later(hours=1)
    await shop.work_for(seller)
    over = await read(seller, payment, "transactions")
    void = over["transactions"][-1]
    assert (void["kind"], void["state"], void["amount_minor"]) == ("void", "succeeded", 10_000 - captured)
    assert void["out_request_no"] is None
    expected = ("captured", None) if captured else ("closed", "expired")
    assert (over["state"], over["closed_reason"]) == expected
    assert await shop.pending(seller) == {}


async def test_lost_freeze_code_comes_back(shop: Shop, seller: Till) -> None:
    shop.acquirer.script("timeout_before_charge", operation="precreate")
    payment = await show(seller, "preauth", freeze_by="qr")
    assert (payment["state"], payment["next_action"]) == ("unknown", None)
    shop.later(seconds=11)
    await shop.work_for(seller)
    shown = await read(seller, payment)
    assert (shown["state"], shown["next_action"]["type"]) == ("processing", "show_qr")


@pytest.mark.parametrize(
    "fields",
    [
        {"form": "page", "freeze_by": "qr"},
        {"form": "preauth", "freeze_by": "code"},
        {"form": "preauth", "freeze_by": "app", "auth_code": "280000000000000009"},
        {"form": "sticker"},
    ],
)
async def test_forms_that_cannot_be_are_refused(shop: Shop, seller: Till, fields: dict[str, Any]) -> None:
    before = await shop.counts()
    assert (await seller.pay(**fields)).status_code == 422
    assert await shop.counts() == before


async def test_a_sale_is_not_frozen_by_a_later_attempt(shop: Shop, seller: Till) -> None:
    answer = await seller.pay(form="merchant_scan", auth_code=f"sim:decline_balance:{seller.merchant_id[-12:]}")
    payment = answer.json()
    before = await shop.counts()
    frozen = await seller.post(f"/payments/{payment['id']}/attempts", {"form": "preauth"})
    assert (frozen.status_code, frozen.json()["code"]) == (409, "payments.state_conflict")
    assert await shop.counts() == before
