"""What settlement answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class SettlementRead(BaseModel):
    """One move from pending to available."""

    id: str
    object: Literal["settlement"]
    merchant_id: str
    day: str
    currency: str
    part: int
    net_minor: int
    settled_at: datetime


class SettlementList(BaseModel):
    """Settlements, newest first."""

    data: list[SettlementRead]
    next_cursor: str | None
