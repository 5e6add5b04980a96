"""The plugin host as payments ask it: `screening.Plugins` over the dispatcher, pinned for one order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from platform_core.capabilities.payments.screening import (
    Amended,
    Drawn,
    HealthWord,
    Judged,
    OrderPlugins,
    Ranked,
    Standing,
    Taken,
)
from platform_core.contracts.fields import Money, Payload
from platform_core.contracts.payments import (
    Basket,
    PaymentProvider,
    amend_basket,
    check_payment,
    check_refund,
    choose_route,
    register_payment_provider,
    render_receipt,
)
from platform_core.contracts.results import Discount
from platform_core.plugin_host.answers import Degraded
from platform_core.plugin_host.breakers import State
from platform_core.plugin_host.dispatch import Dispatcher, Pin
from platform_core.plugin_host.merging import Wanted
from platform_core.plugin_host.outside_objects import OutsidePaymentProvider
from platform_core.plugin_host.registry import Registry

HEALTH: Final[Mapping[State, HealthWord]] = {State.CLOSED: "up", State.HALF_OPEN: "degraded", State.OPEN: "down"}
HOOKS: Final[Mapping[str, Callable[..., Any]]] = {  # Any: a hookspec's result
    function.__name__: function
    for function in (amend_basket, check_payment, check_refund, choose_route, render_receipt)
}


class HostedPlugins:
    """Of one process."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    async def standing(self, merchant_id: str) -> Standing:
        """By switches, enablement and breakers; when nobody can say, providers are asked and answer for themselves."""
        plugins = (await self._dispatcher.pin(merchant_id)).plugins
        if plugins is None:
            return Standing()
        hook = register_payment_provider.__name__
        enabled = {one.release.plugin_id for one in plugins.plugins}
        registry = self._dispatcher.registry
        closed: set[str] = set()
        health: dict[str, HealthWord] = {}
        for provider_id, provider in registry.payment_providers().items():
            plugin_id = registry.owner_of(register_payment_provider, provider_id)
            is_outside = isinstance(provider, OutsidePaymentProvider)
            if is_outside:
                health[provider_id] = HEALTH[self._dispatcher.breaker_state(plugin_id, hook)]
            is_out = is_outside and (plugin_id not in enabled or health[provider_id] == "down")
            if is_out or plugin_id in plugins.draining:
                closed.add(provider_id)
        return Standing(frozenset(closed), health)

    def forsake(self, parts: Sequence[object]) -> None:
        """As the gate does."""
        self._dispatcher.forsake(parts)

    async def of(self, merchant_id: str, *, store_id: str | None, idempotency_key: str) -> OrderPlugins | None:
        """None when the merchant has nothing enabled; when nobody can say, the kinds' failure policies decide."""
        pin = await self._dispatcher.pin(merchant_id)
        if pin.plugins is not None and not (pin.plugins.plugins or pin.plugins.suspended):
            return None
        return HostedOrder(self._dispatcher, pin, store_id=store_id, idempotency_key=idempotency_key)


class HostedOrder:
    """What one order is decided by, from its first hook to its last."""

    def __init__(self, dispatcher: Dispatcher, pin: Pin, *, store_id: str | None, idempotency_key: str) -> None:
        self._dispatcher = dispatcher
        self._pin = pin
        self._store_id = store_id
        self._key = idempotency_key

    def asks(self, hook: str, /) -> bool:
        """Whether anybody implements it, or nobody can say."""
        return self._dispatcher.is_asked(HOOKS[hook], self._pin)

    async def check(self, hook: str, payload: Payload, /, *, amount_minor: int) -> Judged:
        """Verdicts are merged: deny before review before allow."""
        decision = await self._dispatcher.check(
            HOOKS[hook],
            lambda: payload,
            merchant_id=self._pin.merchant_id,
            store_id=self._store_id,
            idempotency_key=self._key,
            amount_minor=amount_minor,
            pin=self._pin,
        )
        return Judged(decision.result, _records(decision.degraded), decision.parts)

    async def amend(self, basket: Basket, /) -> Amended:
        """Discounts that count, in the order in which they were taken."""
        decision = await self._dispatcher.amend_basket(
            amend_basket,
            lambda: basket,
            merchant_id=self._pin.merchant_id,
            store_id=self._store_id,
            idempotency_key=self._key,
            pin=self._pin,
        )
        applied = () if decision.result is None else decision.result.operations
        taken = tuple(
            Taken(
                plugin_id=one.plugin_id,
                rule_id=one.operation.rule_id,
                label=one.operation.label,
                funder=one.operation.funder,
                line_id=one.operation.line_id,
                amount_minor=one.operation.amount_minor,
            )
            for one in applied
            if isinstance(one.operation, Discount)
        )
        return Amended(taken, _records(decision.degraded), decision.parts)

    async def choose(self, hook: str, payload: Payload, offered: Sequence[str], /) -> Ranked:
        """The first valid ranking, completed."""
        decision = await self._dispatcher.choose(
            HOOKS[hook],
            lambda: payload,
            offered=offered,
            merchant_id=self._pin.merchant_id,
            store_id=self._store_id,
            idempotency_key=self._key,
            pin=self._pin,
        )
        ranked_by = next((answer.plugin_id for answer in decision.answers if answer.is_used), None)
        return Ranked(decision.result, ranked_by, _records(decision.degraded), decision.parts)

    async def render(self, hook: str, payload: Payload, /, *, media_type: str, total: Money, bytes_max: int) -> Drawn:
        """What the merchant's one owner drew, if it may be shown."""
        decision = await self._dispatcher.render(
            HOOKS[hook],
            lambda: payload,
            wanted=Wanted(media_type=media_type, total=total, bytes_max=bytes_max),
            merchant_id=self._pin.merchant_id,
            store_id=self._store_id,
            idempotency_key=self._key,
            pin=self._pin,
        )
        drawn_by = next((answer for answer in decision.answers if answer.is_used), None)
        return Drawn(
            decision.result,
            None if drawn_by is None else drawn_by.plugin_id,
            None if drawn_by is None else drawn_by.version,
            _records(decision.degraded),
            decision.parts,
        )


class HostedProviders:
    """The payment providers of the newest generation; the same mapping until there is another one."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._registry: Registry | None = None
        self._providers: Mapping[str, PaymentProvider] = {}

    def __call__(self) -> Mapping[str, PaymentProvider]:
        """By id."""
        registry = self._dispatcher.registry
        if registry is not self._registry:
            self._registry, self._providers = registry, registry.payment_providers()
        return self._providers


def _records(degraded: Sequence[Degraded]) -> Sequence[Mapping[str, str]]:
    """As they stand on the payment."""
    return [
        {"plugin_id": one.plugin_id, "version": one.version, "hook": one.hook, "fault": one.kind.value}
        for one in degraded
    ]
