"""The contract of a payment provider's further forms; mix what it declares into a suite of `provider_suite`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from platform_core.contracts.payments import CUSTOMER_PAYING, ErrorClass, Form, InvokeApp, Outcome, Redirect, ShowQr
from sandbox.testbed.provider_suite import (
    AMOUNT_MINOR,
    Calls,
    PageHarness,
    ShownCodeHarness,
    is_success,
)


class PageSuite:
    """What holds for `page`, `wap` and `sticker`: mix into a suite of a provider that declares them."""

    @pytest.mark.parametrize("form", ["page", "wap", "sticker"])
    async def test_a_page_is_paid_once_and_leads_back(self, harness: PageHarness, form: Form) -> None:
        back = "https://shop.example/thanks?order=1"
        order = replace(Calls(harness, form).order(), return_url=back)
        created = await harness.provider.create(order)
        assert is_success(created, AMOUNT_MINOR)
        assert isinstance(created.action, Redirect)
        assert await harness.provider.create(order) == created
        asked = await harness.provider.query(order)
        assert (asked.outcome, asked.error and asked.error.code) == (Outcome.UNKNOWN, CUSTOMER_PAYING)
        assert harness.visit(created.action.url, pays=True) == back
        harness.visit(created.action.url, pays=True)
        assert is_success(await harness.provider.query(order), AMOUNT_MINOR)
        assert harness.moved(order.idempotency_key) == 1

    async def test_a_refused_page_is_a_decline_and_takes_nothing(self, harness: PageHarness) -> None:
        order = Calls(harness, "page").order()
        created = await harness.provider.create(order)
        assert isinstance(created.action, Redirect)
        harness.visit(created.action.url, pays=False)
        harness.visit(created.action.url, pays=True)
        asked = await harness.provider.query(order)
        assert (asked.outcome, asked.error and asked.error.error_class) == (Outcome.FAILED, ErrorClass.DECLINED_FINAL)
        assert harness.moved(order.idempotency_key) == 0


class InvokedAppSuite:
    """What holds for `app` and `mini_program`: mix into a suite of a provider that declares them."""

    @pytest.mark.parametrize("form", ["app", "mini_program"])
    async def test_what_the_app_is_handed_pays_the_order(self, harness: ShownCodeHarness, form: Form) -> None:
        order = Calls(harness, form).order()
        created = await harness.provider.create(order)
        assert is_success(created, AMOUNT_MINOR)
        assert isinstance(created.action, InvokeApp)
        assert harness.moved(order.idempotency_key) == 0
        harness.scan(created.action.payload)
        assert is_success(await harness.provider.query(order), AMOUNT_MINOR)
        assert harness.moved(order.idempotency_key) == 1


class ShownFreezeSuite:
    """What holds for `preauth` beside `customer_scan` and `app`: mix into a suite of a provider that declares them."""

    @pytest.mark.parametrize("form", ["customer_scan", "app"])
    async def test_a_shown_freeze_holds_and_is_captured_in_parts(self, harness: ShownCodeHarness, form: Form) -> None:
        calls = Calls(harness, form)
        frozen = calls.order("authorize")
        created = await harness.provider.create(frozen)
        assert is_success(created, AMOUNT_MINOR)
        action = created.action
        assert isinstance(action, ShowQr if form == "customer_scan" else InvokeApp)
        harness.scan(action.code if isinstance(action, ShowQr) else action.payload)
        assert is_success(await harness.provider.query(frozen), AMOUNT_MINOR)
        part = calls.follow_up("capture", frozen, amount_minor=5_000, is_final=False)
        void = calls.follow_up("void", frozen, amount_minor=7_000)
        assert is_success(await harness.provider.capture(part), 5_000)
        assert is_success(await harness.provider.void(void), 7_000)
        moved = [harness.moved(call.idempotency_key) for call in (frozen, part, void)]
        assert moved == [1, 1, 1]
