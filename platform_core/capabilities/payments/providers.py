"""Calls to providers: bounded in time, never believed beyond what they say, never inside a transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import structlog

from platform_core.capabilities.payments.metrics import CALL_SECONDS
from platform_core.contracts.payments import (
    ErrorClass,
    PaymentProvider,
    PayoutCall,
    ProviderCall,
    ProviderDescription,
    ProviderResult,
    not_supported,
)
from platform_core.contracts.plugin import PluginContext
from platform_core.kernel.deadline import within

log = structlog.get_logger(__name__)
UNCHECKED = frozenset({"cancel", "close", "query"})  # whose amount only the provider knows


class ContextSource(Protocol):
    """Makes the context that a plugin gets with a call: the merchant's secrets by name, and nothing else."""

    def context(self, *, merchant_id: str, secrets: Mapping[str, Sequence[str]]) -> PluginContext:
        """`secrets` maps names to what is stored of them; only the host can open it."""
        ...


class Providers:
    """The providers that plugins registered, by id: always those of the newest generation."""

    def __init__(self, source: Callable[[], Mapping[str, PaymentProvider]], contexts: ContextSource) -> None:
        """`source` gives the same mapping while nothing changes."""
        self._source = source
        self._seen: Mapping[str, PaymentProvider] | None = None
        self._descriptions: Mapping[str, ProviderDescription] = {}
        self.contexts = contexts

    @property
    def _providers(self) -> Mapping[str, PaymentProvider]:
        providers = self._source()
        if providers is not self._seen:
            self._descriptions = {id_: provider.describe() for id_, provider in providers.items()}
            self._seen = providers
        return providers

    def describe(self, provider_id: str) -> ProviderDescription | None:
        """What a provider can do; None if no plugin brings it now."""
        return self._descriptions.get(provider_id) if provider_id in self._providers else None

    def get(self, provider_id: str) -> PaymentProvider | None:
        """The provider itself, for notices."""
        return self._providers.get(provider_id)

    async def call(self, provider_id: str, method: str, call: ProviderCall | PayoutCall) -> ProviderResult:
        """Ask a provider. Late, broken and raising answers are unknown; a success for another amount is, too."""
        provider = self._providers.get(provider_id)
        if provider is None:
            return ProviderResult.failed(
                ErrorClass.NOT_SENT, "provider_missing", f"No plugin brings the provider {provider_id} at the moment."
            )
        started = time.perf_counter()  # how long a call takes is real time, whatever the business clock says
        result = await self._ask(provider, provider_id, method, call)
        if CALL_SECONDS.is_collected:
            labels = {"provider": provider_id, "operation": method, "outcome": str(result.outcome)}
            CALL_SECONDS.record(time.perf_counter() - started, labels)
        return result

    async def _ask(
        self, provider: PaymentProvider, provider_id: str, method: str, call: ProviderCall | PayoutCall
    ) -> ProviderResult:
        ask: Callable[[ProviderCall | PayoutCall], Coroutine[Any, Any, ProviderResult]] | None
        ask = getattr(provider, method, None)
        if ask is None:  # of a Protocol besides, whose feature it declares without having it
            return not_supported(method)
        try:
            result = await within(ask(call), call.deadline_s)
        except TimeoutError:
            return ProviderResult.unknown("timeout", f"No answer within {call.deadline_s:g} s.")
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises, what it did is not known
            log.warning("provider.raised", provider=provider_id, method=method, error=type(error).__name__)
            return ProviderResult.unknown("exception", "The provider's plugin failed while it was asked.")
        if not isinstance(result, ProviderResult):
            return ProviderResult.unknown("bad_answer", "The provider's plugin answered something else than a result.")
        return result if method in UNCHECKED else result.checked(amount_minor=call.amount_minor)
