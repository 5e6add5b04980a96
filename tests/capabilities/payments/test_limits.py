"""Metered limits where they bite: payments and refunds of an app whose grant has limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import ANY
from zoneinfo import ZoneInfo

import httpx
import pytest

from platform_core.contracts.rar import Detail
from platform_core.identity.schemas import GrantNarrow
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_acts import refund, refused
from tests.capabilities.payments.test_sales import read, scan
from tests.support.world import Till

pytestmark = [pytest.mark.api, pytest.mark.database]
EXCEEDED = "identity.limit_exceeded"
REVOKED = {"by": "per_owner", "why": "test"}


def day(amount_minor: int) -> dict[str, Any]:
    return {"per": "day", "amount_minor": amount_minor, "currency": "CNY"}


def refunds(*limits: dict[str, Any], **more: Any) -> Detail:
    return Detail.model_validate({"type": "payment_refund", "limits": list(limits), **more})


def payments(*limits: dict[str, Any]) -> Detail:
    return Detail.model_validate({"type": "payment_create", "limits": list(limits)})


async def meters(shop: Shop, till: Till) -> dict[str, tuple[int, int, int]]:
    """By bucket without the detail's id: what is left, what is pending, what is used."""
    records = []
    for role in ("grant_limit", "limit_used"):
        records += await shop.platform.ledger.balances(till.merchant_id, role=role)
    found: dict[str, tuple[int, int, int]] = {}
    for record in records:
        bucket = record.bucket.partition("/")[2]
        left, pending, used = found.get(bucket, (0, 0, 0))
        if record.role == "grant_limit":
            left, pending = left + (record.available or 0), pending + record.debits_pending
        else:
            used += record.posted
        found[bucket] = (left, pending, used)
    return found


async def only(shop: Shop, till: Till) -> tuple[int, int, int]:
    [found] = (await meters(shop, till)).values()
    return found


async def exceeded(shop: Shop, answer_of: Any) -> dict[str, Any]:
    """The act is refused by a window whose first refusal this is: nothing but that is written."""
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    answer = await answer_of
    assert (answer.status_code, answer.json().get("code")) == (403, EXCEEDED), answer.text
    told = {table: before[table] + 1 for table in ("outbox", "commit_batch")}
    assert await shop.counts() == {**before, **told}
    assert len(shop.acquirer.calls) == calls
    return dict(answer.json())


async def test_a_refund_beyond_the_days_limit_is_refused_with_what_is_left(shop: Shop) -> None:
    till = await shop.new_till(details=(refunds(day(5_000)),))
    payment = await scan(till)
    assert (await refund(till, payment, "r1", 3_000)).json()["state"] == "succeeded"
    assert await only(shop, till) == (2_000, 0, 3_000)
    problem = await exceeded(shop, refund(till, payment, "r2", 2_001))
    assert await refused(shop, refund(till, payment, "r2", 2_001), EXCEEDED, 403) == {
        **problem,
        "request_id": ANY,
        "instance": ANY,
    }
    zone = ZoneInfo("Asia/Shanghai")
    today = shop.clock.now().astimezone(zone).date()
    midnight = datetime.combine(today + timedelta(days=1), datetime.min.time(), zone).astimezone(UTC)
    assert problem["limit"] == day(5_000)
    assert problem["left"] == 2_000
    assert problem["resets_at"] == midnight.isoformat().replace("+00:00", "Z")
    assert problem["detail"].startswith("The merchant's grant allows CN¥50.00 a day; CN¥20.00 is left")
    assert (await refund(till, payment, "r3", 2_000)).json()["state"] == "succeeded"
    assert await only(shop, till) == (0, 0, 5_000)
    assert (await refund(till, payment, "r1", 3_000)).status_code == 200  # done before: nothing more is taken


async def test_a_single_refund_is_bounded_too(shop: Shop) -> None:
    till = await shop.new_till(details=(refunds({"per": "request", "amount_minor": 1_000, "currency": "CNY"}),))
    payment = await scan(till)
    problem = await refused(shop, refund(till, payment, "r1", 1_001), EXCEEDED, 403)
    assert (problem["left"], problem["resets_at"]) == (1_000, None)
    assert (await refund(till, payment, "r1", 1_000)).status_code == 201
    assert await meters(shop, till) == {}


async def test_every_window_of_a_detail_counts(shop: Shop) -> None:
    limits = (day(5_000), {"per": "week", "quantity": 2}, {"per": "grant", "amount_minor": 9_000, "currency": "CNY"})
    till = await shop.new_till(details=(refunds(*limits),))
    payment = await scan(till)
    await refund(till, payment, "r1", 10)
    await refund(till, payment, "r2", 20)
    problem = await refused(shop, refund(till, payment, "r3", 30), EXCEEDED, 403)
    assert (problem["limit"], problem["left"]) == ({"per": "week", "quantity": 2}, 0)
    assert sorted((await meters(shop, till)).values()) == [(0, 0, 2), (4_970, 0, 30), (8_970, 0, 30)]


async def test_a23_a_limit_is_new_after_midnight_where_the_merchant_is(shop: Shop) -> None:
    till = await shop.new_till(details=(refunds(day(5_000)),))
    payment = await scan(till)
    await refund(till, payment, "r1", 5_000)
    now = shop.clock.now().astimezone(ZoneInfo("Asia/Shanghai"))
    midnight = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), now.tzinfo)
    shop.clock.advance(midnight - now - timedelta(seconds=1))
    await refused(shop, refund(till, payment, "r2", 1), EXCEEDED, 403)
    shop.later(seconds=2)
    assert (await refund(till, payment, "r2", 3_000)).status_code == 201
    assert sorted((await meters(shop, till)).values()) == [(0, 0, 5_000), (2_000, 0, 3_000)]


async def test_a_failed_refund_frees_its_part_and_an_unknown_one_keeps_it(shop: Shop) -> None:
    till = await shop.new_till(details=(refunds(day(5_000)),))
    payment = await scan(till)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("refund_failed", operation="refund", subject=sale["id"])
    assert (await refund(till, payment, "r1", 5_000)).json()["state"] == "failed"
    assert await only(shop, till) == (5_000, 0, 0)
    shop.acquirer.script("unknown_failed-1", operation="refund", subject=sale["id"])
    assert (await refund(till, payment, "r2", 4_000)).json()["state"] == "unknown"
    assert await only(shop, till) == (1_000, 4_000, 0)
    await refused(shop, refund(till, payment, "r3", 1_001), EXCEEDED, 403)


async def test_a_bounced_refund_gives_back_to_its_own_window(shop: Shop) -> None:
    till = await shop.new_till(details=(refunds(day(5_000), {"per": "day", "quantity": 9}),))
    payment = await scan(till)
    [sale] = await shop.transactions(payment["id"])
    shop.acquirer.script("refund_bounced", operation="refund", subject=sale["id"])
    made = (await refund(till, payment, "r1", 4_000)).json()
    if made["state"] == "succeeded":
        assert sorted((await meters(shop, till)).values()) == [(8, 0, 1), (1_000, 0, 4_000)]
    shop.later(days=1)  # the next window is another account
    await shop.work_for(till, rounds=2)
    await till.get(f"/refunds/{made['id']}")
    await shop.deliver(till)
    assert (await till.get(f"/refunds/{made['id']}")).json()["state"] == "bounced"
    assert sorted((await meters(shop, till)).values()) == [(9, 0, 0), (5_000, 0, 0)]


async def test_the_next_detail_that_fits_is_charged(shop: Shop) -> None:
    wide = refunds(day(9_000), locations=["http://127.0.0.1:8080/v1"])
    till = await shop.new_till(details=(refunds(day(1_000)), wide))
    payment = await scan(till)
    assert (await refund(till, payment, "r1", 900)).status_code == 201
    assert (await refund(till, payment, "r2", 900)).status_code == 201
    assert (await refund(till, payment, "r3", 100)).status_code == 201
    records = await shop.platform.ledger.balances(till.merchant_id, role="grant_limit")
    assert sorted(record.available or 0 for record in records) == [0, 8_100]


@pytest.mark.parametrize(
    "detail",
    [
        refunds(day(5_000), stores=["sto_00000000000000000000000000"]),
        refunds({"per": "day", "amount_minor": 5_000, "currency": "USD"}),
    ],
    ids=["store", "currency"],
)
async def test_another_store_or_currency_has_no_limit(shop: Shop, detail: Detail) -> None:
    till = await shop.new_till(details=(detail,))
    payment = await scan(till)
    await refused(shop, refund(till, payment, "r1", 1), "identity.limit_missing", 403)
    assert await meters(shop, till) == {}


async def test_payments_hold_their_part_until_they_end(shop: Shop) -> None:
    till = await shop.new_till(details=(payments(day(20_000)),))
    held = (await till.pay(form="customer_scan")).json()
    assert await only(shop, till) == (11_800, 8_200, 0)
    await till.post(f"/payments/{held['id']}/close", {})
    assert await only(shop, till) == (20_000, 0, 0)
    taken = await scan(till)
    assert await only(shop, till) == (11_800, 0, 8_200)
    assert (await till.pay()).status_code == 201  # cash: intent and outcome in one plan
    assert await only(shop, till) == (3_600, 0, 16_400)
    problem = await exceeded(shop, till.pay())
    assert problem["left"] == 3_600
    canceled = await till.post(f"/payments/{taken['id']}/cancel", {})
    assert canceled.json()["state"] == "canceled"
    assert await only(shop, till) == (11_800, 0, 8_200)


async def test_a_partly_captured_authorisation_uses_what_was_captured(shop: Shop) -> None:
    till = await shop.new_till(details=(payments(day(20_000), {"per": "day", "quantity": 5}),))
    payment = await scan(till, is_capture=False)
    await till.post(f"/payments/{payment['id']}/capture", {"out_request_no": "c1", "amount_minor": 3_000})
    assert (await read(till, payment))["state"] == "captured"
    assert sorted((await meters(shop, till)).values()) == [(4, 0, 1), (17_000, 0, 3_000)]


async def test_an_order_number_that_was_paid_is_answered_under_a_spent_limit(shop: Shop) -> None:
    till = await shop.new_till(details=(payments(day(8_200)),))
    first = await till.pay(out_trade_no="once")
    again = await till.pay(out_trade_no="once")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert await only(shop, till) == (0, 0, 8_200)


async def test_an_owners_grant_without_limits_reads_and_writes_nothing_for_them(
    shop: Shop, seller: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object, **__: object) -> None:
        raise AssertionError("a limit was looked at")

    monkeypatch.setattr("platform_core.identity.repository_grants.read_meter", never)
    monkeypatch.setattr(type(shop.platform.ledger), "accounts", never)
    payment = await scan(seller)
    assert (await refund(seller, payment, "r1", 1)).status_code == 201
    assert await meters(shop, seller) == {}


@pytest.mark.parametrize("round_", range(3))
async def test_a23_forty_refunds_at_once_from_two_processes_never_exceed_the_limit(
    shop: Shop, neighbour: httpx.AsyncClient, round_: int
) -> None:
    till = await shop.new_till(details=(refunds(day(7_000)),))
    other = Till(neighbour, till.token, till.merchant_id, till.store_id, grant_id=till.grant_id)
    sales = [await scan(till, order_minor=500) for _ in range(40)]
    tills = [till if n % 2 else other for n in range(40)]
    calls = [refund(tills[n], sales[n], f"r{n}", 500, key=f"k{round_}.{n}") for n in range(40)]
    answers = await asyncio.gather(*calls)
    assert Counter(answer.status_code for answer in answers) == {201: 14, 403: 26}, {a.text for a in answers}
    assert {answer.json()["code"] for answer in answers if answer.status_code == 403} == {EXCEEDED}
    assert await only(shop, till) == (0, 0, 7_000)
    assert (await till.balances(shop.platform))["channel_receivable"] == -13_000
    assert (await shop.platform.ledger.verify(shop.clock.now())).is_clean


async def test_a23_no_refund_passes_once_the_grant_is_revoked(shop: Shop, neighbour: httpx.AsyncClient) -> None:
    till = await shop.new_till(details=(refunds(day(1_000_000)),))
    other = Till(neighbour, till.token, till.merchant_id, till.store_id, grant_id=till.grant_id)
    sales = [await scan(till, order_minor=500) for _ in range(40)]
    assert (await refund(other, sales[0], "first", 1, key="warm")).status_code == 201  # both have the token cached
    assert (await refund(till, sales[0], "second", 1, key="warm2")).status_code == 201
    calls = [asyncio.create_task(refund(other, sale, "r", 500, key=f"r{n}")) for n, sale in enumerate(sales[1:])]
    await asyncio.sleep(0.01)
    await shop.platform.grants.revoke(till.grant_id, merchant_id=till.merchant_id, **REVOKED)
    (used_then,) = {used + pending for _, pending, used in (await meters(shop, till)).values()}
    statuses = Counter(answer.status_code for answer in await asyncio.gather(*calls))
    assert set(statuses) <= {201, 401}
    _, _, used = await only(shop, till)
    assert used == used_then == 2 + 500 * statuses[201]
    late = [await refund(t, sales[-1], f"late{n}", 1, key=f"late{n}") for n, t in enumerate((till, other))]
    assert [answer.status_code for answer in late] == [401, 401]


async def test_a_lowered_limit_binds_the_process_that_has_not_heard(shop: Shop) -> None:
    till = await shop.new_till(details=(refunds(day(5_000)),))
    payment = await scan(till)
    await refund(till, payment, "r1", 3_000)
    grants = shop.platform.grants
    narrowed = GrantNarrow(authorization_details=(refunds(day(4_000)),))
    changed = await grants.narrow(till.grant_id, narrowed, merchant_id=till.merchant_id, by="per_owner")
    assert changed.version == 2
    assert await only(shop, till) == (1_000, 0, 3_000)
    # This process's cached principal is of the version before; the ledger is not asked by version.
    answers = [await refund(till, payment, f"x{n}", 600, key=f"x{n}") for n in range(2)]
    assert {answer.status_code for answer in answers} <= {201, 401, 403}
    left, _, used = await only(shop, till)
    assert left + used == 4_000
