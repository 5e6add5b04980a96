"""Answers about disputes. Amounts: integers of the currency's minor unit. Moments: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from platform_core.capabilities.payments.schemas import ErrorRead

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


class EvidenceRead(BaseModel):
    """A document of the merchant's. `kept`: this provider takes none through its interface; hand it over yourself."""

    id: str
    name: str
    media_type: Literal["image/jpeg", "image/png", "application/pdf"]
    size_bytes: int
    sha256: str
    state: Literal["pending", "sent", "refused", "kept"]
    error: ErrorRead | None
    created_at: datetime


class DisputeDetailRead(DisputeRead):
    """A dispute with what the merchant answered."""

    evidence: list[EvidenceRead]


class DisputeList(BaseModel):
    """Disputes, newest first unless asked otherwise."""

    data: list[DisputeRead]
    next_cursor: str | None
