"""What settlement answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel


class WithholdingRead(BaseModel):
    """What a capability took: for `reference`, an object of its own, to its account of this role."""

    source: str
    reference: str
    role: str
    amount_minor: int


class LeftOut(BaseModel):
    """A capability that would have taken something and was left out."""

    source: str
    fault: str


class SettlementRead(BaseModel):
    """One booking day's money, or a later part of it, on its way to you; minor units, deductions positive.

    moved = gross + funded - fees - splits - refunds - disputes + other - held. net = moved - debt - reserve -
    withheld: what your available money grew by. `refunds_minor` is after the fees that went back with them;
    `held_minor` is held for what is still open, and comes back as a negative figure of a later part.
    `receivers_minor` went to the receivers of your splits.
    """

    id: str
    object: Literal["settlement"]
    merchant_id: str
    day: str
    currency: str
    part: int
    gross_minor: int
    funded_minor: int
    fees_minor: int
    splits_minor: int
    refunds_minor: int
    disputes_minor: int
    other_minor: int
    held_minor: int
    moved_minor: int
    debt_minor: int
    reserve_minor: int
    withheld_minor: int
    net_minor: int
    receivers_minor: int
    withholdings: list[WithholdingRead]
    degraded: list[LeftOut]
    settled_at: datetime


class SettlementList(BaseModel):
    """Settlements, newest first."""

    data: list[SettlementRead]
    next_cursor: str | None
