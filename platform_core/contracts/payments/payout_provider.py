"""What a payment provider with the feature `payout` can be asked besides: to send a merchant's money to its bank."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from platform_core.contracts.hooks import promise_besides
from platform_core.contracts.payments.provider import ChannelAccount, ProviderResult, register_payment_provider

if TYPE_CHECKING:
    from platform_core.contracts.plugin import PluginContext

PAYOUT_SENT: Final = "payout_sent"
"""Error code of an unknown outcome: the provider has taken the payout and the bank has not answered yet."""
PAYOUT_RETURNED: Final = "payout_returned"
"""Error code of a failed outcome: the bank sent the money back, also after a success was told. It is with the
provider, and so with us, again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Payee:
    """The bank account that is to be paid; verified by the host before."""

    holder: str
    bank: str
    account: str

    def __repr__(self) -> str:
        return "Payee(...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PayoutCall:
    """One payout to be made, or asked about. `idempotency_key` is the payout's id, the same on every repeat."""

    idempotency_key: str
    out_payout_no: str
    amount_minor: int
    currency: str
    channel_account: ChannelAccount
    deadline_s: float
    now: datetime
    ctx: PluginContext = field(repr=False, compare=False)
    payee: Payee
    note: str = ""
    """What the merchant wants to read on its statement."""
    provider_reference: str | None = None
    """What the provider called this payout, where known: for `query_payout`."""


@runtime_checkable
class PayoutProvider(Protocol):
    """Payouts by one acquirer; asked only where the description has the feature `payout`.

    Success: the money has left for the merchant's bank. Unknown with `payout_sent`: taken, not yet paid. Failed: it
    did not and never will leave under this key, or (`payout_returned`) it came back.
    """

    async def payout(self, call: PayoutCall) -> ProviderResult:
        """Send the money, once per `idempotency_key`."""
        ...

    async def query_payout(self, call: PayoutCall) -> ProviderResult:
        """The provider's word on a payout. Not seen there: unknown, code `not_found`. Moves nothing."""
        ...


promise_besides(register_payment_provider.__name__, PayoutProvider)
