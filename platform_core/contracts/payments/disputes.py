"""A provider's word on a dispute: a customer's claim, through the wallet or bank, that a payment be undone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

DisputeStatus = Literal["opened", "won", "lost"]
"""Still open; decided for the merchant; decided for the customer. Seen from the merchant's side."""
DisputeMove = Literal["dispute_withdrawn", "dispute_won"]
"""Money of a dispute on a bill: what the acquirer took back from us, and what it gave back when the dispute was won."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DisputeWord:
    """How a dispute stands at the provider.

    A word tells all that has happened so far, so that words may come twice, in any order, and with one lost: the first
    one opens the dispute here, whatever it says. The amount never changes.
    """

    provider_reference: str
    """The provider's own id of the dispute."""
    idempotency_key: str
    """Our transaction that is disputed: a sale or a capture."""
    status: DisputeStatus
    is_withdrawn: bool
    """Whether the acquirer has taken the amount out of what it owes us. Of a won one: it was given back since."""
    amount_minor: int
    currency: str
    reason: str
    """The provider's code of the customer's reason, such as `not_received`."""
    occurred_at: datetime
    """When it came to stand so, by the provider's clock."""
    due_at: datetime | None = None
    """Until when evidence is taken; None where the provider sets no date."""

    def __post_init__(self) -> None:
        """Raise ValueError for a word that says too little."""
        if not self.provider_reference or self.amount_minor <= 0:
            raise ValueError("a dispute has the provider's reference and an amount above zero")
        if self.status == "lost" and not self.is_withdrawn:
            raise ValueError("what was lost was withdrawn")
        for moment in (self.occurred_at, self.due_at):
            if moment is not None and moment.tzinfo is None:
                raise ValueError("moments are aware")
