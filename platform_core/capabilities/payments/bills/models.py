"""Tables of bills. Amounts inside of `figures` are minor units; moments are aware, UTC."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=nullable))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


class Bill(SQLModel, table=True):
    """One merchant's day.

    `since` (with) and `until` (without) bound the bookings; they are midnights of the merchant's, and a bill begins
    where the one of the day before ended. While `state` is making, `progress` says how far it is, and `problem` why it
    could not be published the last time; `run` counts the beginnings. A published row never changes: the database
    refuses it. `figures`: by currency the sums of the rows, and opening and closing of each group of accounts.
    """

    __tablename__ = "pay_bill"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    day: date
    time_zone: str = _text()
    since: datetime = _moment()
    until: datetime = _moment()
    state: str = _text()
    run: int
    rows: int
    progress: Any = Field(default=None, sa_column=Column(JSONB))
    problem: str | None = _text(nullable=True)
    figures: Any = Field(default=None, sa_column=Column(JSONB))
    detail_bytes: int | None = Field(default=None, sa_column=Column(BigInteger))
    detail_packed_bytes: int | None = Field(default=None, sa_column=Column(BigInteger))
    detail_crc32: int | None = Field(default=None, sa_column=Column(BigInteger))
    detail_sha256: str | None = _text(nullable=True)
    summary: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    manifest: bytes | None = Field(default=None, sa_column=Column(LargeBinary))
    archive_bytes: int | None = Field(default=None, sa_column=Column(BigInteger))
    archive_sha256: str | None = _text(nullable=True)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    published_at: datetime | None = _moment(nullable=True)


class BillPart(SQLModel, table=True):
    """A piece of the detail's deflate stream. Those of a run that was given up stay, and are read by nobody."""

    __tablename__ = "pay_bill_part"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    bill_id: str = _text()
    run: int
    number: int
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


BILLS = DocumentTable(Bill, version="version", unique=[("merchant_id", "day")])
BILL_PARTS = DocumentTable(BillPart, unique=[("bill_id", "run", "number")])
