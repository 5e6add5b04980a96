"""Answers about bills. Amounts are minor units; moments are RFC 3339 in UTC, days the merchant's own."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, Field


class BillBalanceRead(BaseModel):
    """A group of the merchant's accounts at the two ends of the day."""

    account: str = Field(description="balance, reserve, dispute, payout or till.")
    opening_minor: int
    closing_minor: int


class BillFiguresRead(BaseModel):
    """The rows of one currency added up, and the balances that they explain."""

    currency: str
    count: int
    customer_paid_minor: int
    funded_discount_minor: int
    points_value_minor: int
    refund_minor: int
    fee_minor: int
    split_minor: int
    net_minor: int
    balances: list[BillBalanceRead]


class BillFileRead(BaseModel):
    """A file's size and hash."""

    size_bytes: int
    sha256: str


class BillRead(BaseModel):
    """A published bill. It never changes."""

    id: str
    object: Literal["bill"]
    merchant_id: str
    day: date
    time_zone: str
    since: datetime
    until: datetime
    rows: int
    currencies: list[BillFiguresRead]
    detail: BillFileRead
    archive: BillFileRead
    published_at: datetime


class BillList(BaseModel):
    """Bills, the newest day first."""

    data: list[BillRead]
    next_cursor: str | None
