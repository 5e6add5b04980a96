"""Answers about disputes. Amounts: integers of the currency's minor unit. Moments: RFC 3339, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel

from platform_core.capabilities.payments.disputes.read import DisputeRead
from platform_core.capabilities.payments.schemas import ErrorRead


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
