"""A dispute as it is answered. Amounts: integers of the currency's minor unit. Moments: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

DisputeState = Literal["opened", "evidence_sent", "accepted", "won", "lost"]


class DisputeRead(BaseModel):
    """A dispute. `held_minor` of its amount stands apart from the merchant's money, or went back with it.

    `is_withdrawn`: the acquirer has taken the amount out of what it owes. `due_at`: until when evidence is taken, null
    where the provider sets no date. `documents`: how many were sent.
    """

    id: str
    object: Literal["dispute"]
    merchant_id: str
    payment_id: str
    transaction_id: str
    provider_id: str
    provider_reference: str
    state: DisputeState
    amount_minor: int
    held_minor: int
    currency: str
    reason: str
    is_withdrawn: bool
    due_at: datetime | None
    documents: int
    created_at: datetime
    updated_at: datetime
    decided_at: datetime | None
