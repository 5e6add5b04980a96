"""Fifty at once: one payment for one key, never more than was authorised or captured; also from two processes'
platforms.
"""

from __future__ import annotations

import asyncio
from collections import Counter

import httpx
import pytest

from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_sales import read, scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
MANY = 50


@pytest.mark.parametrize("form", ["local", "merchant_scan"])
async def test_fifty_identical_requests_make_one_payment_and_equal_answers(
    shop: Shop, seller: Till, neighbour: httpx.AsyncClient, form: str
) -> None:
    code = f"sim:success:fifty.{seller.merchant_id[-10:]}" if form == "merchant_scan" else None
    other = Till(neighbour, seller.token, seller.merchant_id, seller.store_id)
    body = {"out_trade_no": "fifty", "form": form, "auth_code": code}
    tills = [seller if n % 2 else other for n in range(MANY)]
    answers = await asyncio.gather(*(till.pay(key="one", **body) for till in tills))
    assert Counter(answer.status_code for answer in answers) == {201: MANY}, [a.text for a in answers][:2]
    assert len({answer.text for answer in answers}) == 1
    assert Counter(answer.headers.get("idempotency-replayed") for answer in answers) == {None: 1, "true": MANY - 1}
    [count] = await shop.fetch("SELECT count(*) FROM pay_payment WHERE merchant_id = $1", seller.merchant_id)
    assert count[0] == 1
    assert (await seller.balances(shop.platform))["channel_receivable"] == -8_200
    before = await shop.counts()
    reused = await seller.pay(key="one", **{**body, "subject": "Three coffees"})
    assert (reused.status_code, reused.json()["code"]) == (422, "kernel.idempotency_key_reused")
    assert await shop.counts() == before


async def test_same_number_under_other_keys_is_one_payment(shop: Shop, seller: Till) -> None:
    answers = await asyncio.gather(*(seller.pay(out_trade_no="same") for _ in range(MANY)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: MANY - 1}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (await seller.balances(shop.platform))["channel_receivable"] == -8_200


async def test_duplicate_order_number_changes_nothing(shop: Shop, seller: Till) -> None:
    await seller.pay(out_trade_no="taken")
    before = await shop.counts()
    answer = await seller.pay(out_trade_no="taken", order_minor=1)
    assert (answer.status_code, answer.json()["code"]) == (409, "payments.out_trade_no_taken")
    assert await shop.counts() == before


@pytest.mark.parametrize("round_", range(3))
async def test_fifty_captures_never_exceed_the_authorisation(
    shop: Shop, seller: Till, neighbour: httpx.AsyncClient, round_: int
) -> None:
    payment = await scan(seller, is_capture=False, order_minor=10_000)
    other = Till(neighbour, seller.token, seller.merchant_id, seller.store_id)

    async def capture(n: int) -> httpx.Response:
        till = seller if n % 2 else other
        body = {"out_request_no": f"c{n}", "amount_minor": 900 + round_, "is_final": False}
        return await till.post(f"/payments/{payment['id']}/capture", body, key=f"c{n}")

    answers = await asyncio.gather(*(capture(n) for n in range(MANY)))
    codes = {answer.json()["code"] for answer in answers if answer.status_code != 200}
    assert codes <= {"payments.capture_exceeds_authorized", "payments.busy"}
    done = sum(answer.status_code == 200 for answer in answers)
    assert 1 <= done <= 10_000 // (900 + round_)
    captured = done * (900 + round_)
    assert (await read(seller, payment))["amounts"]["captured_minor"] == captured
    assert (await seller.balances(shop.platform))["channel_receivable"] == -captured
    keys = {row["id"] for row in await shop.transactions(payment["id"])}
    assert shop.acquirer.collected(keys) == captured


@pytest.mark.parametrize("round_", range(3))
async def test_fifty_refunds_never_exceed_the_capture(
    shop: Shop, seller: Till, neighbour: httpx.AsyncClient, round_: int
) -> None:
    payment = await scan(seller)
    other = Till(neighbour, seller.token, seller.merchant_id, seller.store_id)

    async def refund(n: int) -> httpx.Response:
        till = seller if n % 2 else other
        body = {"out_request_no": f"r{n}", "amount_minor": 700 + round_}
        return await till.post(f"/payments/{payment['id']}/refunds", body, key=f"r{n}")

    answers = await asyncio.gather(*(refund(n) for n in range(MANY)))
    codes = {answer.json()["code"] for answer in answers if answer.status_code != 201}
    assert codes <= {"payments.refund_exceeds_refundable", "payments.busy"}
    done = sum(answer.status_code == 201 for answer in answers)
    assert 1 <= done <= 8_200 // (700 + round_)
    assert (await read(seller, payment))["amounts"]["refunded_minor"] == done * (700 + round_)
    assert (await seller.balances(shop.platform)).get("channel_receivable", 0) == -8_200 + done * (700 + round_)
    assert await shop.pending(seller) == {}


@pytest.mark.parametrize(
    ("name", "body", "status"),
    [("cancel", {}, 200), ("refunds", {"out_request_no": "r1", "amount_minor": 8_200}, 201)],
)
@pytest.mark.parametrize("is_one_key", [True, False])
async def test_double_submitted_act_happens_once(
    shop: Shop, seller: Till, name: str, body: dict[str, object], status: int, is_one_key: bool
) -> None:
    payment = await scan(seller)
    answers = await asyncio.gather(
        *(
            seller.post(f"/payments/{payment['id']}/{name}", body, key="one" if is_one_key else f"k{n}")
            for n in range(10)
        )
    )
    assert {answer.status_code for answer in answers} <= ({status} if is_one_key else {status, 200}), [
        a.text for a in answers
    ]
    if is_one_key:
        assert len({answer.text for answer in answers}) == 1
    assert await seller.balances(shop.platform) == {}
    keys = {row["id"] for row in await shop.transactions(payment["id"])}
    assert shop.acquirer.collected(keys) == 0
    assert sum(shop.acquirer.moved("refund", "cancel").get(key, 0) for key in keys) == 1


async def test_slow_provider_blocks_no_other_checkout(shop: Shop, seller: Till) -> None:
    release = asyncio.Event()

    async def wait() -> None:
        await release.wait()

    shop.acquirer.before["pay"] = wait
    slow = asyncio.create_task(scan(seller))
    while "pay" in shop.acquirer.before:  # noqa: ASYNC110 - taken out when the call arrives
        await asyncio.sleep(0)
    others = await asyncio.wait_for(asyncio.gather(*(scan(seller) for _ in range(10))), timeout=20)
    assert [payment["state"] for payment in others] == ["captured"] * 10
    assert not slow.done()
    release.set()
    assert (await slow)["state"] == "captured"
