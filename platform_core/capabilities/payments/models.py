"""Tables of payments.

Amounts are minor units of the payment's currency; moments are aware, UTC; JSON columns hold encoded text.
"""

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


def _json(*, nullable: bool = True) -> Any:  # as above
    return Field(default=None, sa_column=Column(JSONB, nullable=nullable))


class Payment(SQLModel, table=True):
    """What a merchant wants paid, and what has become of it.

    `version` is what plans expect and raise; `sequence` counts the events. `authorized - captured - voided -
    capturing` can still be
    captured, `captured - refunded - refunding - disputed` can still be refunded.
    """

    __tablename__ = "pay_payment"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    out_trade_no: str = _text()
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    subject: str = _text()
    form: str = _text()
    channel: str | None = _text(nullable=True)
    is_capture: bool
    state: str = _text()
    closed_reason: str | None = _text(nullable=True)
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    currency: str = _text()
    order_minor: int = _amount()
    payable_minor: int = _amount()
    authorized_minor: int = _amount()
    voided_minor: int = _amount()
    capturing_minor: int = _amount()
    captured_minor: int = _amount()
    refunding_minor: int = _amount()
    refunded_minor: int = _amount()
    disputed_minor: int = _amount()  # held for disputes that were not won
    fee_minor: int = _amount()
    fee_returned_minor: int = _amount()
    fee_plan: Any = _json()
    authorization_id: str | None = _text(nullable=True)
    booking_day: date | None = None
    store_id: str | None = _text(nullable=True)
    terminal_id: str | None = _text(nullable=True)
    operator_id: str | None = _text(nullable=True)
    customer: Any = _json()
    basket: Any = _json()
    labels: Any = _json()
    return_url: str | None = _text(nullable=True)
    next_action: Any = _json()
    last_error: Any = _json()
    charge: Any = _json()  # of the grant's limits: `identity.limits.Charge.record`, and how it stands
    discounts: Any = _json()  # what plugins took off: list of plugin, rule_id, label, line_id, funder, amount_minor
    risk: Any = _json()  # the last verdict of `check_payment`: verdict, score, reasons; None if nobody was asked
    degraded: Any = _json()  # decisions made without a plugin's answer: list of plugin, version, hook, fault
    split_minor: int = _amount()  # stands with receivers, or frozen for them
    splitting_minor: int = _amount()  # waits for a provider's word on a split
    split_count: int = 0
    split_mode: str | None = _text(nullable=True)
    split_wish: Any = _json()  # the order's own splits: cap_bp as it stood, and the shares
    attempts: int
    disputes: int
    created_at: datetime = _moment()
    updated_at: datetime = _moment()
    expires_at: datetime = _moment()
    captured_at: datetime | None = _moment(nullable=True)
    canceled_at: datetime | None = _moment(nullable=True)


class Attempt(SQLModel, table=True):
    """One try at one provider in one form."""

    __tablename__ = "pay_attempt"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    number: int
    provider_id: str = _text()
    channel_account_id: str = _text()
    form: str = _text()
    state: str = _text()
    route: Any = _json()
    error: Any = _json()
    created_at: datetime = _moment()
    ended_at: datetime | None = _moment(nullable=True)


class Transaction(SQLModel, table=True):
    """One thing asked of a provider. `request_key` is the client's out_request_no, else what the core names it by.

    `original_id` is the transaction that a follow-up is about. `released_minor` of a capture is what it lets go
    besides;
    `fee_minor` of a refund is the fee that it gives back. `booking_day` of a sale or capture is the merchant's calendar
    day on which its money came in; None also for a till's.
    """

    __tablename__ = "pay_transaction"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    attempt_id: str = _text()
    kind: str = _text()
    request_key: str = _text()
    original_id: str | None = _text(nullable=True)
    state: str = _text()
    amount_minor: int = _amount()
    released_minor: int = _amount()
    is_final: bool
    provider_id: str = _text()
    channel_account_id: str = _text()
    provider_reference: str | None = _text(nullable=True)
    holds: Any = _json(nullable=False)
    charge: Any = _json()  # of a refund or split, of the grant's limits
    split_parts: Any = _json()  # of settle: what is held for which share; of refund and cancel: what was taken back
    fee_minor: int = _amount()
    reason: str = _text()
    booking_day: date | None = None
    error: Any = _json()
    created_at: datetime = _moment()
    finished_at: datetime | None = _moment(nullable=True)


class Refund(SQLModel, table=True):
    """The public view of money going back."""

    __tablename__ = "pay_refund"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    transaction_id: str = _text()
    out_request_no: str = _text()
    fingerprint: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    state: str = _text()
    amount_minor: int = _amount()
    currency: str = _text()
    fee_returned_minor: int = _amount()
    reason: str = _text()
    tries: int
    last_error: Any = _json()
    split_returns: Any = _json()  # which shares came back with it
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    updated_at: datetime = _moment()


class ChannelAccount(SQLModel, table=True):
    """A merchant's contract with an acquirer, reached through one provider."""

    __tablename__ = "pay_channel_account"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    provider_id: str = _text()
    name: str = _text()
    settings: Any = _json(nullable=False)
    secrets: Any = _json(nullable=False)
    is_active: bool
    created_at: datetime = _moment()


class RoutingRule(SQLModel, table=True):
    """Which channel accounts are offered, in which order, for which payments; the first rule that fits decides."""

    __tablename__ = "pay_routing_rule"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    position: int
    form: str | None = _text(nullable=True)
    store_id: str | None = _text(nullable=True)
    amount_minor_min: int | None = Field(default=None, sa_column=Column(BigInteger))
    amount_minor_max: int | None = Field(default=None, sa_column=Column(BigInteger))
    channel_account_ids: Any = _json(nullable=False)
    valid_from: datetime = _moment()
    valid_until: datetime | None = _moment(nullable=True)


class FeePlan(SQLModel, table=True):
    """What the platform charges a merchant; copied to the payment when it is captured."""

    __tablename__ = "pay_fee_plan"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    currency: str = _text()
    form: str | None = _text(nullable=True)
    rate_bp: int
    fixed_minor: int = _amount()
    fee_minor_min: int = _amount()
    fee_minor_max: int | None = Field(default=None, sa_column=Column(BigInteger))
    is_kept_on_refund: bool
    valid_from: datetime = _moment()
    valid_until: datetime | None = _moment(nullable=True)


class NoticeSeen(SQLModel, table=True):
    """A provider's notice as it came; its id makes a second delivery a no-op."""

    __tablename__ = "pay_notice"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    channel_account_id: str = _text()
    notice_id: str = _text()
    transaction_id: str = _text()
    raw_body: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    received_at: datetime = _moment()


class Receipt(SQLModel, table=True):
    """A wish for a receipt, one for each payment, media type and language, and what was drawn for it last.

    What tells of a drawing is None while `state` is pending. `total_minor` is what was captured, `refunded_minor` what
    had gone back by then; `sequence` counts the drawings. `plugin_id` drew it; None: the built-in template.
    """

    __tablename__ = "pay_receipt"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    payment_id: str = _text()
    media_type: str = _text()
    locale: str = _text()
    state: str = _text()
    rendered_media_type: str | None = _text(nullable=True)
    currency: str = _text()
    total_minor: int | None = Field(default=None, sa_column=Column(BigInteger))
    refunded_minor: int | None = Field(default=None, sa_column=Column(BigInteger))
    blob_id: str | None = _text(nullable=True)
    size_bytes: int | None = None
    sha256: str | None = _text(nullable=True)
    plugin_id: str | None = _text(nullable=True)
    plugin_version: str | None = _text(nullable=True)
    degraded: Any = _json()  # as of a payment
    sequence: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: int = Field(sa_column=Column(BigInteger, nullable=False))
    created_at: datetime = _moment()
    updated_at: datetime = _moment()
    ready_at: datetime | None = _moment(nullable=True)


class ReceiptBlob(SQLModel, table=True):
    """A document as it was drawn. One that a later drawing replaced stays until its time is over."""

    __tablename__ = "pay_receipt_blob"

    id: str = Field(sa_column=Column(Text, primary_key=True))
    merchant_id: str = _text()
    receipt_id: str = _text()
    content: bytes = Field(sa_column=Column(LargeBinary, nullable=False))
    created_at: datetime = _moment()


PAYMENTS = DocumentTable(Payment, version="version", unique=[("merchant_id", "out_trade_no")])
ATTEMPTS = DocumentTable(Attempt)
TRANSACTIONS = DocumentTable(Transaction)
REFUNDS = DocumentTable(Refund, version="version", unique=[("payment_id", "out_request_no")])
CHANNEL_ACCOUNTS = DocumentTable(ChannelAccount)
ROUTING_RULES = DocumentTable(RoutingRule)
FEE_PLANS = DocumentTable(FeePlan)
RECEIPTS = DocumentTable(Receipt, version="version", unique=[("payment_id", "media_type", "locale")])
RECEIPT_BLOBS = DocumentTable(ReceiptBlob)
NOTICES = DocumentTable(NoticeSeen, unique=[("channel_account_id", "notice_id")])
