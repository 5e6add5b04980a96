"""Tables of stickers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Text
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=nullable))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


class Sticker(SQLModel, table=True):
    """A static code. `amount_minor`: the fixed amount; None: the customer types it."""

    __tablename__ = "pay_sticker"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    code: str = _text()
    store_id: str = _text()
    terminal_id: str | None = _text(nullable=True)
    name: str = _text()
    currency: str = _text()
    amount_minor: int | None = Field(default=None, sa_column=Column(BigInteger))
    state: str = _text()
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    revoked_at: datetime | None = _moment(nullable=True)


class StickerUse(SQLModel, table=True):
    """A payment that was begun at a sticker: the `place`th of the minute."""

    __tablename__ = "pay_sticker_use"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    sticker_id: str = _text()
    payment_out_trade_no: str = _text()
    minute: datetime = _moment()
    place: int
    created_at: datetime = _moment()


STICKERS = DocumentTable(Sticker, version="version", unique=[("code",)])
STICKER_USES = DocumentTable(StickerUse, unique=[("sticker_id", "minute", "place")])
