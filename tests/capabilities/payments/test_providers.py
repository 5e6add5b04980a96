"""A provider is believed for what it says and for nothing else; late, broken and odd answers are unknown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from platform_core.capabilities.payments.providers import ContextSource, Providers
from platform_core.contracts.payments import (
    ChannelAccount,
    ErrorClass,
    Outcome,
    PaymentProvider,
    ProviderCall,
    ProviderResult,
)
from plugins.cash.provider import CashProvider

pytestmark = pytest.mark.unit
NOW = datetime(2026, 11, 22, tzinfo=UTC)
AMOUNT_MINOR = 8_200


class Odd(CashProvider):
    """A provider that answers whatever a test wants."""

    def __init__(self, behaviour: Any) -> None:
        super().__init__()
        self.behaviour = behaviour
        self.asked = 0

    async def pay(self, call: ProviderCall) -> ProviderResult:
        self.asked += 1
        return cast(ProviderResult, await self.behaviour(call))


def call(**fields: Any) -> ProviderCall:
    values: dict[str, Any] = {
        "idempotency_key": "txn_1",
        "kind": "sale",
        "payment_id": "pay_1",
        "attempt_id": "att_1",
        "amount_minor": AMOUNT_MINOR,
        "currency": "CNY",
        "form": "merchant_scan",
        "channel_account": ChannelAccount(id="cha_1", settings={}, secret_names={}),
        "deadline_s": 0.05,
        "now": NOW,
        "ctx": None,
    }
    return ProviderCall(**(values | fields))


async def ask(behaviour: Any) -> tuple[ProviderResult, int]:
    provider = Odd(behaviour)
    known = {"odd": cast(PaymentProvider, provider)}
    providers = Providers(lambda: known, cast(ContextSource, None))
    return await providers.call("odd", "pay", call()), provider.asked


async def _never(call: ProviderCall) -> ProviderResult:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


async def _raises(call: ProviderCall) -> ProviderResult:
    raise RuntimeError("password=hunter2")


async def _says_nothing(call: ProviderCall) -> Any:
    return None


async def _says_true(call: ProviderCall) -> Any:
    return True


async def _pays_another_amount(call: ProviderCall) -> ProviderResult:
    return ProviderResult.success(amount_minor=call.amount_minor + 1, occurred_at=NOW, provider_reference="r")


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (_never, "timeout"),
        (_raises, "exception"),
        (_says_nothing, "bad_answer"),
        (_says_true, "bad_answer"),
        (_pays_another_amount, "amount_differs"),
    ],
)
async def test_unknown_is_never_declared_failed_nor_paid(behaviour: Any, code: str) -> None:
    result, asked = await ask(behaviour)
    assert (result.outcome, asked) == (Outcome.UNKNOWN, 1)
    assert result.error is not None
    assert (result.error.error_class, result.error.code) == (ErrorClass.UNKNOWN, code)
    assert "hunter2" not in result.error.message


async def test_a_success_for_the_amount_asked_is_believed() -> None:
    async def pays(call: ProviderCall) -> ProviderResult:
        return ProviderResult.success(amount_minor=call.amount_minor, occurred_at=NOW, provider_reference="r")

    result, _ = await ask(pays)
    assert (result.outcome, result.amount_minor, result.provider_reference) == (Outcome.SUCCESS, AMOUNT_MINOR, "r")


async def test_a_provider_that_no_plugin_brings_was_not_asked() -> None:
    providers = Providers(dict, cast(ContextSource, None))
    result = await providers.call("gone", "pay", call())
    assert result.outcome is Outcome.FAILED
    assert result.error is not None
    assert result.error.error_class is ErrorClass.NOT_SENT


async def test_a_caller_who_leaves_is_not_taken_for_a_late_provider() -> None:
    task = asyncio.create_task(ask(_never))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
