"""The provider `cash`."""

from __future__ import annotations

from typing import Final

from platform_core.contracts.hooks import hookimpl
from platform_core.contracts.payments import (
    NOT_FOUND,
    AmountLimit,
    Bill,
    BillRequest,
    Notice,
    NoticeOutcome,
    NoticeRefused,
    PaymentProvider,
    ProviderCall,
    ProviderDescription,
    ProviderResult,
    not_supported,
)

_DESCRIPTION: Final = ProviderDescription(
    id="cash",
    forms=frozenset({"local"}),
    limits=(AmountLimit("CNY", amount_minor_min=0, amount_minor_max=5_000_000),),
    features=frozenset({"cancel", "partial_refund"}),
    is_local=True,
)


class CashProvider:
    """Cash at the till. It keeps no book: the ledger's own rows are the only record, and the drawer is the truth."""

    __slots__ = ()

    def describe(self) -> ProviderDescription:
        """Form `local`, CNY up to 50,000.00, zero included: an order that benefits pay in full ends here."""
        return _DESCRIPTION

    async def pay(self, call: ProviderCall) -> ProviderResult:
        """The cashier has taken the amount."""
        return _done(call)

    async def refund(self, call: ProviderCall) -> ProviderResult:
        """The cashier hands the amount out; how much is refundable the ledger has decided before."""
        return _done(call)

    async def cancel(self, call: ProviderCall) -> ProviderResult:
        """The cashier hands back what `original` took."""
        return _done(call)

    async def close(self, call: ProviderCall) -> ProviderResult:
        """Nothing stands open at a till."""
        return ProviderResult.success(amount_minor=0, occurred_at=call.now, provider_reference=call.idempotency_key)

    async def query(self, call: ProviderCall) -> ProviderResult:
        """There is no book to look into: whoever asks has lost the answer, and a person must count the drawer."""
        return ProviderResult.unknown(NOT_FOUND, "Cash has no book to ask; the till's drawer is the truth.")

    async def query_refund(self, call: ProviderCall) -> ProviderResult:
        """As `query`."""
        return await self.query(call)

    async def create(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("create")

    async def authorize(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("authorize")

    async def capture(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("capture")

    async def void(self, call: ProviderCall) -> ProviderResult:
        """Not offered."""
        return not_supported("void")

    async def parse_notice(self, notice: Notice) -> NoticeOutcome:
        """Nobody sends notices about cash."""
        raise NoticeRefused("not_supported", "Cash has no notices.")

    async def fetch_bill(self, request: BillRequest) -> Bill:
        """There is no bill."""
        raise LookupError("cash has no bill; the description declares none")


def _done(call: ProviderCall) -> ProviderResult:
    return ProviderResult.success(
        amount_minor=call.amount_minor, occurred_at=call.now, provider_reference=call.idempotency_key
    )


@hookimpl
def register_payment_provider() -> PaymentProvider:
    """Hand over the provider `cash`."""
    return CashProvider()
