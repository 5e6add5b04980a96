"""Tables of exports; moments are aware, UTC, JSON columns hold encoded text."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, LargeBinary, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit.documents import DocumentTable


def _text(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(sa_column=Column(Text, nullable=nullable))


def _json(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(JSONB, nullable=nullable))


def _moment(*, nullable: bool = False) -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=nullable))


class Export(SQLModel, table=True):
    """A wish for files. While it is not finished it holds one of the merchant's slots.

    `stores`: only of these (None: all); `as_of`: nothing newer; `snapshots`: the moments that the rows were read at,
    more than one after a crash or for what took long; `progress`: behind which row to go on.
    """

    __tablename__ = "pay_export"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    client_id: str = _text()
    noun: str = _text()
    format: str = _text()
    filters: Any = _json()
    stores: Any = _json(nullable=True)
    is_personal: bool
    state: str = _text()
    slot: int | None = None
    as_of: datetime = _moment()
    snapshots: Any = _json()
    rows: int
    size_bytes: int = Field(sa_column=Column(BigInteger, nullable=False))
    parts: int
    progress: Any = _json(nullable=True)
    error: Any = _json(nullable=True)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    updated_at: datetime = _moment()
    finished_at: datetime | None = _moment(nullable=True)


class ExportPart(SQLModel, table=True):
    """One file: whole rows, gzip. It counts when its export is ready."""

    __tablename__ = "pay_export_part"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    export_id: str = _text()
    number: int
    rows: int
    size_bytes: int
    sha256: str = _text()
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = _moment()


EXPORTS = DocumentTable(Export, version="version", unique=[("merchant_id", "slot")])
EXPORT_PARTS = DocumentTable(ExportPart, unique=[("export_id", "number")])
JSON_COLUMNS = ("filters", "stores", "snapshots", "progress", "error")
