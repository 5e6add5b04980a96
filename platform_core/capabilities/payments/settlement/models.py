"""Tables of settlement. Amounts are minor units; moments are aware, UTC; JSON columns hold encoded text."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text() -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=False))


def _amount(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None if nullable else 0, sa_column=Column(BigInteger, nullable=nullable))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


def _json() -> Any:  # as above
    return Field(default=None, sa_column=Column(JSONB, nullable=True))


class Settlement(SQLModel, table=True):
    """One move of a booking day's money from pending to available, and what became of it.

    `part` counts from 1: what was held on the day follows. `moved` = gross + funded - fees - splits - refunds -
    disputes + other - held; `net` = moved - debt - reserve - withheld, what the merchant's available money grew by.
    Figures of a part are what has changed on the day's account since the part before it.
    """

    __tablename__ = "pay_settlement"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    day: date
    currency: str = _text()
    part: int
    gross_minor: int = _amount()
    funded_minor: int = _amount()
    fees_minor: int = _amount()
    splits_minor: int = _amount()
    refunds_minor: int = _amount()
    disputes_minor: int = _amount()
    other_minor: int = _amount()
    held_minor: int = _amount()
    moved_minor: int = _amount()
    debt_minor: int = _amount()
    reserve_minor: int = _amount()
    withheld_minor: int = _amount()
    net_minor: int = _amount()
    receivers_minor: int = _amount()
    withholdings: Any = _json()  # list of source, reference, account, amount_minor
    degraded: Any = _json()  # list of source, fault: amenders that were left out
    settled_at: datetime = _moment()


class Holiday(SQLModel, table=True):
    """A calendar day on which nothing is settled or paid out, for all merchants."""

    __tablename__ = "pay_settlement_holiday"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    day: date
    name: str = _text()
    created_at: datetime = _moment()


class ReservePlan(SQLModel, table=True):
    """Which share of a settlement is kept back, and for how many days; the newest one that has begun holds."""

    __tablename__ = "pay_reserve_plan"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    currency: str = _text()
    rate_bp: int
    held_days: int
    valid_from: datetime = _moment()


class Reserve(SQLModel, table=True):
    """What one settlement kept back. `released_minor` is less than the amount where a dispute took of the reserve."""

    __tablename__ = "pay_reserve"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    settlement_id: str = _text()
    currency: str = _text()
    amount_minor: int = _amount()
    released_minor: int | None = _amount(nullable=True)
    release_at: datetime = _moment()
    released_at: datetime | None = _moment(nullable=True)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))


class AcquirerPayout(SQLModel, table=True):
    """What an acquirer paid us: `gross` of what it owed, less its `cost`. `reference`: the acquirer's or the bank's."""

    __tablename__ = "pay_acquirer_payout"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    channel_account_id: str = _text()
    reference: str = _text()
    currency: str = _text()
    gross_minor: int = _amount()
    cost_minor: int = _amount()
    booked_by: str = _text()
    booked_at: datetime = _moment()


SETTLEMENTS = DocumentTable(Settlement, unique=[("merchant_id", "day", "currency", "part")])
HOLIDAYS = DocumentTable(Holiday, tenant=None, unique=[("day",)])
RESERVE_PLANS = DocumentTable(ReservePlan)
RESERVES = DocumentTable(Reserve, version="version", unique=[("settlement_id",)])
ACQUIRER_PAYOUTS = DocumentTable(AcquirerPayout, unique=[("channel_account_id", "reference")])
