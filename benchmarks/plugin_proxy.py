"""A confined plugin's check as the platform asks it: through pluggy, and through the whole of dispatch."""

from __future__ import annotations

import tomllib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, Final

from benchmarks.plugin_bundle import PLUGIN_ID, VERSION, manifest_text
from platform_core.contracts.fields import Money, Payload
from platform_core.contracts.hooks import CATALOGUE
from platform_core.contracts.manifest import Manifest
from platform_core.contracts.payments import PaymentToCheck, check_payment
from platform_core.contracts.runtime import Answered, Fault
from platform_core.kernel.clock import SystemClock
from platform_core.kernel.entropy import entropy
from platform_core.plugin_host.asking import Tools
from platform_core.plugin_host.breakers import Breakers, LocalBook
from platform_core.plugin_host.discovery import Plugin
from platform_core.plugin_host.dispatch import Dispatcher
from platform_core.plugin_host.gate import Gatekeeper, GateTools
from platform_core.plugin_host.installed import Enabled, HookPolicy, MerchantPlugins, Release
from platform_core.plugin_host.members import Key, cut_of
from platform_core.plugin_host.registry import Registry, build
from platform_core.plugin_host.trusted import TrustedRuns
from sandbox.runtime.supervisor import Supervisor

MERCHANT_ID: Final = "mer_bench"
FIELDS: Final = ("amount", "subject")
SCOPES: Final = frozenset({"payments:read", "baskets:read"})
PAYMENT: Final = PaymentToCheck(
    payment_id="pay_bench",
    out_trade_no="order_bench",
    subject="tea",
    form="merchant_scan",
    channel=None,
    amount=Money(amount_minor=510_000, currency="CNY"),
    store_id=None,
    terminal_id=None,
    operator_id=None,
    attempt=1,
    created_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
)
Begin = Callable[[bytes], Awaitable[Answered | Fault]]


def _release() -> Release:
    told = tomllib.loads(manifest_text())
    told["hooks"] = [{"name": "check_payment", "fields": list(FIELDS)}]
    told["scopes"] = [{"name": name, "purpose": {"zh": "测试", "en": "For tests"}} for name in sorted(SCOPES)]
    manifest = Manifest.model_validate(told, strict=False)
    return Release(plugin_id=PLUGIN_ID, version=VERSION, tier="confined", manifest=manifest)


def _registry(release: Release) -> Registry:
    registry = build([Plugin(PLUGIN_ID, SimpleNamespace(), release)])
    assert registry.problems == (), registry.problems
    return registry


class Proxied:
    """Calls through pluggy: its caller, the generated proxy, the payload cut and written, the worker, the answer."""

    def __init__(self, begin: Begin) -> None:
        """`begin` sends a call with these arguments to the worker before it returns."""
        self._begin = begin
        self._caller: Any = _registry(_release()).single_caller("check_payment", (PLUGIN_ID, VERSION))  # Any: pluggy
        self._cut = cut_of(CATALOGUE["check_payment"], fields=FIELDS, granted=SCOPES)

    def ask(self, key: Key, payload: Payload) -> Awaitable[Answered | Fault]:
        """What the proxy calls."""
        assert key == (PLUGIN_ID, VERSION)
        trimmed = self._cut.apply(payload)
        return self._begin(type(trimmed).__pydantic_serializer__.to_json(trimmed))

    async def check(self) -> None:
        """One check, which must be answered."""
        (pending,) = self._caller(ctx=self, payment=PAYMENT)
        answer = await pending
        assert isinstance(answer, Answered), answer


class Dispatched:
    """Checks through the dispatcher: besides, breaker, quarantine, the gate's handle, deadlines, the decision."""

    def __init__(self, supervisor: Supervisor) -> None:
        release, clock = _release(), SystemClock()
        enabled = Enabled(
            release=release,
            installation_id="ins_bench",
            grant_id=None,
            scopes=SCOPES,
            revision=1,
            config=b"{}",
            is_dry_run=False,
        )
        self._plugins = MerchantPlugins(
            merchant_id=MERCHANT_ID,
            mode="test",
            locale="en",
            plugins=(enabled,),
            policy=HookPolicy(),
            digest=PLUGIN_ID,
        )
        nobody: Any = None  # Any: the plugin asks for nothing, so that no capability is reached
        gate = GateTools(clients=nobody, operations=nobody, principals=nobody, audits=nobody, clock=clock)
        tools = Tools(
            calls=Gatekeeper(gate),
            runtimes={"confined": supervisor},
            trusted=TrustedRuns(),
            breakers=Breakers(clock, LocalBook()),
            quarantine=self,
            clock=clock,
            entropy=entropy,
        )
        self._dispatcher = Dispatcher(_registry(release), self, tools)

    async def of(self, merchant_id: str) -> MerchantPlugins:
        """`Enablement`: from memory, as between two changes."""
        assert merchant_id == MERCHANT_ID
        return self._plugins

    def holds(self, plugin_id: str, version: str) -> bool:
        """`Quarantine`: nothing is in it."""
        return False

    def fault(
        self, plugin_id: str, version: str, fault: Fault, *, merchant_id: str | None = None, call_id: str | None = None
    ) -> None:
        """`Quarantine`: the plugin does nothing that leads there."""
        raise AssertionError(fault)

    async def check(self) -> None:
        """One check, which must be answered."""
        decision = await self._dispatcher.check(
            check_payment,
            lambda: PAYMENT,
            merchant_id=MERCHANT_ID,
            store_id=None,
            idempotency_key=PAYMENT.payment_id,
            amount_minor=PAYMENT.amount.amount_minor,
        )
        assert decision.result.decision == "review", decision
        assert not decision.degraded, decision
