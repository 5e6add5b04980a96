"""Which providers may be offered a payment, and how often routes succeeded lately."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from platform_core.capabilities.payments.route_success import ATTEMPTS_MIN, RouteSuccess
from platform_core.capabilities.payments.screening import Standing
from platform_core.contracts.payments import ErrorClass, ProviderResult, RoutingQuestion
from platform_core.kernel.clock import ManualClock
from tests.capabilities.payments.plugins import Script
from tests.capabilities.payments.shop import Shop
from tests.capabilities.payments.test_screening import code, code_of, grown
from tests.support.world import Till

FIRST = "simulated_acquirer"
_numbers = itertools.count(1)


async def accounts_of(till: Till, answer: dict[str, str]) -> list[str]:
    """The channel accounts that a payment was tried at."""
    payment = (await till.get(f"/payments/{answer['id']}?expand=attempts")).json()
    return [attempt["channel_account_id"] for attempt in payment["attempts"]]


def close(shop: Shop, till: Till, *providers: str) -> None:
    shop.plugins.standings[till.merchant_id] = Standing(closed=frozenset(providers))


@pytest.mark.api
@pytest.mark.database
async def test_a_drained_provider_gets_no_new_payment_and_goes_on_with_the_old_ones(shop: Shop, seller: Till) -> None:
    second = await shop.add_second(seller)
    old = (await seller.pay(form="merchant_scan", auth_code=code())).json()
    assert await accounts_of(seller, old) == [seller.channel_account_id]
    close(shop, seller, FIRST)
    new = (await seller.pay(form="customer_scan")).json()
    assert await accounts_of(seller, new) == [second]
    back = await seller.post(f"/payments/{old['id']}/refunds", {"out_request_no": "r1", "is_full": True})
    assert back.json()["state"] == "succeeded", "what it took it gives back"
    close(shop, seller, FIRST, "second_acquirer")
    before, calls = await shop.counts(), len(shop.acquirer.calls)
    refused = await seller.pay(form="merchant_scan", auth_code=code())
    assert code_of(refused) == (409, "payments.no_route")
    assert grown(before, await shop.counts()) == {}
    assert len(shop.acquirer.calls) == calls
    close(shop, seller)
    assert (await seller.pay(form="merchant_scan", auth_code=code())).json()["state"] == "captured"


@pytest.mark.api
@pytest.mark.database
async def test_further_attempts_go_past_a_drained_provider_too(shop: Shop, seller: Till) -> None:
    second = await shop.add_second(seller)
    payment = (await seller.pay(form="merchant_scan", auth_code=code("decline_balance"))).json()
    assert payment["state"] == "created"
    close(shop, seller, "second_acquirer")
    body = {"form": "merchant_scan", "auth_code": code("decline_balance")}
    await seller.post(f"/payments/{payment['id']}/attempts", body)
    close(shop, seller, FIRST)
    await seller.post(f"/payments/{payment['id']}/attempts", {"form": "merchant_scan", "auth_code": code()})
    assert await accounts_of(seller, payment) == [seller.channel_account_id, seller.channel_account_id, second]


@pytest.mark.api
@pytest.mark.database
async def test_a_chooser_is_told_how_often_routes_succeeded(shop: Shop, seller: Till) -> None:
    await shop.add_second(seller)
    asked = Script(rank=lambda question: None)
    shop.plugins.scripts[seller.merchant_id] = asked
    shop.plugins.standings[seller.merchant_id] = Standing(health={FIRST: "degraded"})
    for scenario in ["success"] * (ATTEMPTS_MIN - 2) + ["busy", "decline_balance"]:
        await seller.pay(form="merchant_scan", auth_code=code(scenario))
    await seller.pay(form="customer_scan")
    question = asked.asked[-1]
    assert isinstance(question, RoutingQuestion)
    told = [(route.provider_id, route.success_bp, route.health) for route in question.routes]
    assert told == [(FIRST, None, "degraded"), ("second_acquirer", None, "unknown")], "19 ended by the route's doing"
    await seller.pay(form="merchant_scan", auth_code=code())
    await seller.pay(form="customer_scan")
    question = asked.asked[-1]
    assert isinstance(question, RoutingQuestion)
    assert [route.success_bp for route in question.routes] == [9_500, None]


def failed(kind: ErrorClass) -> ProviderResult:
    return ProviderResult.failed(kind, "no", "It said no.")


def paid() -> ProviderResult:
    now = datetime(2026, 11, 22, tzinfo=UTC)
    return ProviderResult.success(amount_minor=1, occurred_at=now, provider_reference=f"P{next(_numbers)}")


@pytest.mark.unit
def test_success_is_of_the_last_hour_and_of_the_routes_own_doing() -> None:
    clock = ManualClock(datetime(2026, 11, 22, 12, tzinfo=UTC))
    success = RouteSuccess(clock)
    for _ in range(ATTEMPTS_MIN // 2):
        success.ended("cha_1", failed(ErrorClass.BUSY))
    clock.advance(timedelta(minutes=30))
    for _ in range(ATTEMPTS_MIN // 2):
        success.ended("cha_1", paid())
    for kind in (ErrorClass.DECLINED_FINAL, ErrorClass.CUSTOMER_ACTION, ErrorClass.INVALID_REQUEST):
        success.ended("cha_1", failed(kind))
    success.ended("cha_1", ProviderResult.unknown("timeout", "No answer."))
    assert success.success_bp("cha_1") == 5_000
    clock.advance(timedelta(minutes=31))
    assert success.success_bp("cha_1") is None, "the failures are an hour old, and ten are too few to go by"
    for _ in range(ATTEMPTS_MIN // 2):
        success.ended("cha_1", paid())
    assert success.success_bp("cha_1") == 10_000
    assert success.success_bp("cha_2") is None
