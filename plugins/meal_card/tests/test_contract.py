"""Meal cards against the contract of every plugin, and of every provider."""

from __future__ import annotations

import hmac
from typing import ClassVar

import pytest

from platform_core.contracts.payments import ErrorClass, Outcome
from platform_core.contracts.plugin import EgressAnswer
from platform_core.contracts.testing import PluginSuite, Request
from platform_core.contracts.testing.egress import answered
from plugins.meal_card.tests.conftest import HOST, KEY, NetworkHarness
from sandbox.testbed.provider_suite import Calls, RemoteHarness, RemoteProviderSuite


class TestContract(PluginSuite):
    plugin = "plugins.meal_card"
    config: ClassVar = {"shop_no": "shop-1"}
    secrets: ClassVar = {"shop_key": KEY}

    def outside(self, request: Request) -> EgressAnswer:
        """A network that has done whatever it is asked for."""
        told = request.json()
        amount = told.get("amount_minor", 8_200 if "7v9w" in told["key"] else 3_200)
        body = (
            f'{{"key": "{told["key"]}", "state": "DONE", "code": "OK", "amount_minor": {amount}, '
            '"currency": "CNY", "reference": "mc-1", "occurred_at": "2026-11-22T04:00:00Z"}'
        ).encode()
        signed = f"answer\n{request.headers['x-mealcard-signature']}\n200\n".encode() + body
        return answered(200, body, x_mealcard_signature=hmac.new(KEY, signed, "sha256").hexdigest())


@pytest.mark.contract
class TestProvider(RemoteProviderSuite):
    async def test_an_unreachable_provider_was_not_sent_to(self, harness: RemoteHarness, calls: Calls) -> None:
        assert isinstance(harness, NetworkHarness)
        harness.outside.hosts = {HOST: "http://127.0.0.1:1"}
        sale = calls.order()
        paid, asked = await harness.provider.pay(sale), await harness.provider.query(sale)
        assert (paid.outcome, paid.error and paid.error.error_class) == (Outcome.FAILED, ErrorClass.NOT_SENT)
        assert asked.outcome is Outcome.UNKNOWN
