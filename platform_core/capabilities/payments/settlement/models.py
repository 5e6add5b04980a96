"""Tables of settlement. Amounts are minor units; moments are aware, UTC."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Text
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=nullable))


def _amount() -> Any:  # as above
    return Field(default=0, sa_column=Column(BigInteger, nullable=False))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


class Settlement(SQLModel, table=True):
    """One move of a booking day's money from pending to available.

    `part` counts from 1: what was held on the day follows.
    """

    __tablename__ = "pay_settlement"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    day: date
    currency: str = _text()
    part: int
    net_minor: int = _amount()
    settled_at: datetime = _moment()


SETTLEMENTS = DocumentTable(Settlement, unique=[("merchant_id", "day", "currency", "part")])
