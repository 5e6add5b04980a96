"""Tables of payouts. Amounts are minor units; moments are aware, UTC; JSON columns hold encoded text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=nullable))


def _amount() -> Any:  # as above
    return Field(default=0, sa_column=Column(BigInteger, nullable=False))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


def _json() -> Any:  # as above
    return Field(default=None, sa_column=Column(JSONB, nullable=True))


class Payout(SQLModel, table=True):
    """Money on its way from a merchant's available balance to its bank.

    `created`: set aside; it waits for a second person (`approval` waiting), or for the provider. `sent`: the provider
    has it. `unknown`: nobody can say. `paid`, `failed`, `returned` are ends, but what was paid may still be returned.
    """

    __tablename__ = "pay_payout"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    out_payout_no: str = _text()
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    origin: str = _text()
    state: str = _text()
    approval: str = _text()
    currency: str = _text()
    amount_minor: int = _amount()
    destination_id: str = _text()
    destination_hint: str = _text()
    channel_account_id: str = _text()
    provider_id: str = _text()
    provider_reference: str | None = _text(nullable=True)
    note: str = _text()
    requested_by: str = _text()
    decided_by: str | None = _text(nullable=True)
    charge: Any = _json()  # of the grant's limits: `identity.limits.Charge.record`
    last_error: Any = _json()  # class, code, message
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    updated_at: datetime = _moment()
    paid_at: datetime | None = _moment(nullable=True)
    ended_at: datetime | None = _moment(nullable=True)


class PayoutTerms(SQLModel, table=True):
    """How a merchant is paid out in one currency: its own schedule, and the operator's policy."""

    __tablename__ = "pay_payout_terms"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    currency: str = _text()
    schedule: str = _text()
    weekday: int | None = None  # ISO: 1 is Monday
    payout_minor_min: int = _amount()
    approval_above_minor: int | None = Field(default=None, sa_column=Column(BigInteger))
    last_skipped: Any = _json()  # why the last scheduled payout was not made: code, at
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    updated_at: datetime = _moment()


class TopUp(SQLModel, table=True):
    """Money that came in from a merchant's bank; one person proposes it, another one books it."""

    __tablename__ = "pay_top_up"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    bank_account: str = _text()
    reference: str = _text()
    currency: str = _text()
    amount_minor: int = _amount()
    debt_minor: int = _amount()
    state: str = _text()
    proposed_by: str = _text()
    decided_by: str | None = _text(nullable=True)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    decided_at: datetime | None = _moment(nullable=True)


PAYOUTS = DocumentTable(Payout, version="version", unique=[("merchant_id", "out_payout_no")])
PAYOUT_TERMS = DocumentTable(PayoutTerms, version="version", unique=[("merchant_id", "currency")])
# Only what waits claims its place here; what was booked claims its transfer.
TOP_UPS = DocumentTable(TopUp, version="version", unique=[("bank_account", "reference", "state")])
