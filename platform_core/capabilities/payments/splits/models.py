"""Tables of splits. Amounts are minor units of the payment's currency; moments are aware, UTC."""

from __future__ import annotations

from datetime import date, datetime
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


class SplitReceiver(SQLModel, table=True):
    """Who may get shares of a merchant's payments. `account` is an account at the acquirer, or a merchant's id.

    `bound_as` is the reference while the receiver is bound, and NULL afterwards, so that a reference can be bound anew
    while the former receiver stays for history.
    """

    __tablename__ = "pay_split_receiver"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    reference: str = _text()
    bound_as: str | None = _text(nullable=True)
    name: str = _text()
    type: str = _text()
    account: str = _text()
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    unbound_at: datetime | None = _moment(nullable=True)


class SplitPolicy(SQLModel, table=True):
    """What one merchant may split, and how many receivers it has bound. The merchant's id is the row's.

    `share_cap_bp` None: the platform's own.
    """

    __tablename__ = "pay_split_policy"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    share_cap_bp: int | None = None
    receivers_bound: int
    version: int = Field(sa_column=Column(BigInteger, nullable=False))


class SplitBinding(SQLModel, table=True):
    """One request that bound or unbound receivers, by the number that the merchant gave it."""

    __tablename__ = "pay_split_binding"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    kind: str = _text()
    out_request_no: str = _text()
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    receiver_ids: Any = Field(default=None, sa_column=Column(JSONB, nullable=False))
    created_at: datetime = _moment()


class Split(SQLModel, table=True):
    """One splitting of a payment; its amounts are the sums of its shares'.

    `refunded_before_minor` is what had gone back of the payment when it was split: a later refund returns shares in
    proportion to what has gone back since.
    """

    __tablename__ = "pay_split"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    out_request_no: str = _text()
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    mode: str = _text()
    state: str = _text()
    currency: str = _text()
    amount_minor: int = _amount()
    frozen_minor: int = _amount()
    settled_minor: int = _amount()
    returned_minor: int = _amount()
    given_back_minor: int = _amount()
    refunded_before_minor: int = _amount()
    transaction_id: str | None = _text(nullable=True)
    last_error: Any = Field(default=None, sa_column=Column(JSONB))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    updated_at: datetime = _moment()
    gives_back_at: datetime | None = _moment(nullable=True)


class SplitShare(SQLModel, table=True):
    """One receiver's part of a split.

    `amount = frozen + settled + returned + given_back` unless it is pending or failed: `frozen` waits in the hold,
    `settled` stands with the receiver, `returned` came back by refunds, `given_back` went back to the merchant
    unreleased. `day` is the booking day with whose money it was settled, None if that was available already.
    """

    __tablename__ = "pay_split_share"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    split_id: str = _text()
    number: int
    receiver_id: str = _text()
    state: str = _text()
    percent_bp: int | None = None
    amount_minor: int = _amount()
    frozen_minor: int = _amount()
    settled_minor: int = _amount()
    returned_minor: int = _amount()
    given_back_minor: int = _amount()
    day: date | None = None
    note: str = _text()
    error: Any = Field(default=None, sa_column=Column(JSONB))
    created_at: datetime = _moment()


RECEIVERS = DocumentTable(SplitReceiver, version="version", unique=[("merchant_id", "bound_as")])
POLICIES = DocumentTable(SplitPolicy, version="version", unique=[("id",)])
BINDINGS = DocumentTable(SplitBinding, unique=[("merchant_id", "kind", "out_request_no")])
SPLITS = DocumentTable(Split, version="version", unique=[("payment_id", "out_request_no")])
SHARES = DocumentTable(SplitShare)
