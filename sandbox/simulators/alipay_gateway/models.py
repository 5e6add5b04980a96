"""Tables of the gateway. JSON columns hold encoded text; moments are aware, UTC, by the sandbox's clock."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Column, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlmodel import Field, SQLModel

from platform_core.kernel.commit import DocumentTable


def _json(*, nullable: bool = False) -> Any:  # SQLModel types Field() by its default
    return Field(default=None, sa_column=Column(JSONB, nullable=nullable))


def _moment() -> Any:  # as above
    return Field(default=None, sa_column=Column(DateTime(timezone=True), nullable=False))


class AlipayId(SQLModel, table=True):
    """A number of the protocol and what it stands for, for ever.

    `kind`: app and seller (16 digits), buyer, and with 28 digits trade, freeze and operation. `native_id`: the app, the
    merchant, the payment, and for the capture of a freeze, a freeze's operations and what else is no payment of its
    own the transaction. `out_no`: the merchant's number for it. `facts`: what the protocol keeps of the request that
    made it and the platform has no place for, such as notify_url; see `numbers.TradeFacts`.
    """

    __tablename__: ClassVar[str] = "sim_alipay_id"

    id: str = Field(primary_key=True)
    kind: str
    native_id: str | None
    merchant_id: str | None
    out_no: str | None
    facts: Any = _json()
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()


class AlipayRequest(SQLModel, table=True):
    """A request as it came, the last 1000 of each app. `pairs`: names and values, their bytes read as Latin-1.

    `unused`: names of fields that no translator reads. `doctor`: what the signature's doctor found, where it was asked.
    """

    __tablename__: ClassVar[str] = "sim_alipay_request"

    id: str = Field(primary_key=True)
    app_id: str
    method: str
    pairs: Any = _json()
    code: str
    sub_code: str | None
    answer: str = Field(sa_column=Column(Text, nullable=False))
    unused: Any = _json()
    doctor: Any = _json(nullable=True)
    received_at: datetime = _moment()


class AlipayFault(SQLModel, table=True):
    """Something to go wrong the next `times_left` times that an app calls `method` (blank: any) with fields `match`."""

    __tablename__: ClassVar[str] = "sim_alipay_fault"

    id: str = Field(primary_key=True)
    app_id: str
    method: str
    match: Any = _json()
    effect: str
    argument: str
    times_left: int
    used: int
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()


_UNIQUE = (("id",), ("kind", "native_id"), ("merchant_id", "kind", "out_no"))
IDS = DocumentTable(AlipayId, version="version", unique=_UNIQUE)
REQUESTS = DocumentTable(AlipayRequest, tenant=None)
FAULTS = DocumentTable(AlipayFault, tenant=None, version="version")
