"""What a payment provider with the feature `dispute` can be asked besides."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from platform_core.contracts.blobs import Blob
from platform_core.contracts.hooks import promise_besides
from platform_core.contracts.payments.disputes import DisputeWord
from platform_core.contracts.payments.provider import ChannelAccount, ProviderError, register_payment_provider

if TYPE_CHECKING:
    from platform_core.contracts.plugin import PluginContext


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceFile:
    """One document that speaks for the merchant."""

    name: str
    media_type: str
    """image/jpeg, image/png or application/pdf, found by the first bytes and not by what the merchant said."""
    sha256: str
    content: Blob = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeCall:
    """One question about a dispute, or one thing to be done in it."""

    idempotency_key: str
    """Of this act, the same on every repeat: the document's id, else the dispute's."""
    dispute_id: str
    provider_reference: str
    transaction_id: str
    """The disputed transaction: what `DisputeWord.idempotency_key` names."""
    amount_minor: int
    currency: str
    channel_account: ChannelAccount
    deadline_s: float
    now: datetime
    ctx: PluginContext = field(repr=False, compare=False)
    evidence: EvidenceFile | None = None
    """For `submit_evidence`."""


@runtime_checkable
class DisputeProvider(Protocol):
    """Disputes at one acquirer; asked only where the description has the feature `dispute`.

    Each answer is the dispute as it stands after the call, or an error. An error of class `unknown`, `not_sent`, `busy`
    or `configuration` is followed by the same call later; any other says that this act is refused for good. An
    exception is `unknown`.
    """

    async def query_dispute(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """The provider's word. Moves nothing."""
        ...

    async def submit_evidence(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """Hand one document over, once per `idempotency_key`."""
        ...

    async def accept_dispute(self, call: DisputeCall) -> DisputeWord | ProviderError:
        """Tell that the merchant gives in: the answer is `lost`."""
        ...


promise_besides(register_payment_provider.__name__, DisputeProvider)
