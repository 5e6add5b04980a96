"""What a payment provider with the feature `split` can be asked besides: to give shares to receivers."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from platform_core.contracts.hooks import promise_besides
from platform_core.contracts.payments.provider import ProviderCall, ProviderResult, register_payment_provider


@runtime_checkable
class SplitProvider(Protocol):
    """Splits by one acquirer; asked only where the description has the feature `split`."""

    async def settle(self, call: ProviderCall) -> ProviderResult:
        """Give the shares of the sale or capture in `original` to their receivers: all of them or none, once.

        Success names the sum of the shares. `query` tells what became of one; kind `settle`.
        """
        ...


promise_besides(register_payment_provider.__name__, SplitProvider)
