"""Tables of disputes. Amounts are minor units of the payment's currency; moments are aware, UTC."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text() -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=False))


def _amount() -> Any:  # as above
    return Field(sa_column=Column(BigInteger, nullable=False))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


class Dispute(SQLModel, table=True):
    """One dispute about one sale or capture.

    `amount_minor` is what the provider says; `held_minor` what stands for it on `merchant_dispute`, or stood: never
    more than what of the transaction had not gone back. `decided_at` is None while it is open, and of an accepted one.
    """

    __tablename__ = "pay_dispute"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    transaction_id: str = _text()
    provider_id: str = _text()
    channel_account_id: str = _text()
    provider_reference: str = _text()
    state: str = _text()
    amount_minor: int = _amount()
    held_minor: int = _amount()
    currency: str = _text()
    reason: str = _text()
    is_withdrawn: bool
    due_at: datetime | None = _moment(nullable=True)
    documents: int
    version: int = _amount()
    created_at: datetime = _moment()
    updated_at: datetime = _moment()
    decided_at: datetime | None = _moment(nullable=True)


class DisputeDocument(SQLModel, table=True):
    """A document of the merchant's. `state`: pending, sent or refused by the provider; kept where it takes none."""

    __tablename__ = "pay_dispute_document"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    dispute_id: str = _text()
    name: str = _text()
    media_type: str = _text()
    size_bytes: int
    sha256: str = _text()
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    state: str = _text()
    error: Any = Field(default=None, sa_column=Column(JSONB, nullable=True))
    created_at: datetime = _moment()


DISPUTES = DocumentTable(Dispute, version="version", unique=[("channel_account_id", "provider_reference")])
DISPUTE_DOCUMENTS = DocumentTable(DisputeDocument, unique=[("dispute_id", "sha256")])
