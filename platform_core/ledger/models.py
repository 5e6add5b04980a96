"""The ledger's tables, as `migrations/ledger_0001_accounts.py` makes them; written by the applier alone."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Text,
    UniqueConstraint,
    text,
)
from sqlmodel import Field, SQLModel


def _amount() -> Column[int]:
    return Column(BigInteger, nullable=False, server_default=text("0"))


def _moment(*, nullable: bool = False, server_default: str | None = None) -> Column[datetime]:
    return Column(DateTime(timezone=True), nullable=nullable, server_default=server_default)


class LedgerAccount(SQLModel, table=True):
    """An account and its running sums. `moved_at` is when it was last touched; its bookings never precede that."""

    __tablename__ = "ledger_account"
    __table_args__: ClassVar = (
        UniqueConstraint("unit", "owner", "role", "bucket", name="ledger_account_unit_owner_role_bucket_key"),
        CheckConstraint("guard IN ('free', 'ge0', 'le0')", name="ledger_account_guard_check"),
        CheckConstraint("debits_posted >= 0", name="ledger_account_debits_posted_check"),
        CheckConstraint("credits_posted >= 0", name="ledger_account_credits_posted_check"),
        CheckConstraint("debits_pending >= 0", name="ledger_account_debits_pending_check"),
        CheckConstraint("credits_pending >= 0", name="ledger_account_credits_pending_check"),
        CheckConstraint("guard <> 'ge0' OR debits_posted + debits_pending <= credits_posted", name="guard_ge0"),
        CheckConstraint("guard <> 'le0' OR credits_posted + credits_pending <= debits_posted", name="guard_le0"),
        Index("ledger_account_merchant", "merchant_id", "role", "id"),
        {"postgresql_with": {"fillfactor": 50}},
    )

    id: int = Field(sa_column=Column(BigInteger, Identity(always=True), primary_key=True))
    merchant_id: str | None = Field(default=None, sa_type=Text)
    unit: str = Field(sa_type=Text)
    owner: str = Field(sa_type=Text)
    role: str = Field(sa_type=Text)
    bucket: str = Field(sa_type=Text)
    guard: str = Field(sa_type=Text)
    debits_posted: int = Field(sa_column=_amount())
    credits_posted: int = Field(sa_column=_amount())
    debits_pending: int = Field(sa_column=_amount())
    credits_pending: int = Field(sa_column=_amount())
    moved_at: datetime = Field(sa_column=_moment(server_default="epoch"))
    is_closed: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))


class LedgerTransfer(SQLModel, table=True):
    """One movement, never changed. `debit_after`, `credit_after`: the posted balances behind it (credits - debits).

    `kind`: `transfer` and `post` move, `pending` holds, `void` and `expire` release; the last three name `pending_id`.
    """

    __tablename__ = "ledger_transfer"
    __table_args__: ClassVar = (
        CheckConstraint("kind IN ('transfer', 'pending', 'post', 'void', 'expire')", name="ledger_transfer_kind_check"),
        CheckConstraint("amount > 0", name="ledger_transfer_amount_check"),
        CheckConstraint("debit_account <> credit_account", name="ledger_transfer_check"),
        CheckConstraint(
            "(kind IN ('post', 'void', 'expire')) = (pending_id IS NOT NULL)", name="ledger_transfer_check1"
        ),
        Index("ledger_transfer_debit", "debit_account", "created_at", "position"),
        Index("ledger_transfer_credit", "credit_account", "created_at", "position"),
        Index("ledger_transfer_reference", "reference"),
        Index("ledger_transfer_resolution", "pending_id", unique=True, postgresql_where=text("pending_id IS NOT NULL")),
    )

    position: int = Field(sa_column=Column(BigInteger, Identity(always=True), nullable=False))
    id: str = Field(sa_type=Text, primary_key=True)
    merchant_id: str | None = Field(default=None, sa_type=Text)
    kind: str = Field(sa_type=Text)
    debit_account: int = Field(sa_type=BigInteger)
    credit_account: int = Field(sa_type=BigInteger)
    unit: str = Field(sa_type=Text)
    amount: int = Field(sa_type=BigInteger)
    pending_id: str | None = Field(default=None, sa_type=Text)
    reverses: str | None = Field(default=None, sa_type=Text)
    code: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_column=_moment())
    expires_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    debit_after: int = Field(sa_type=BigInteger)
    credit_after: int = Field(sa_type=BigInteger)


class LedgerPending(SQLModel, table=True):
    """Where a pending transfer stands: a copy of what its transfers say, to be locked and to be found when due."""

    __tablename__ = "ledger_pending"
    __table_args__: ClassVar = (
        CheckConstraint("amount > 0", name="ledger_pending_amount_check"),
        CheckConstraint("state IN ('pending', 'posted', 'voided', 'expired')", name="ledger_pending_state_check"),
        CheckConstraint("posted BETWEEN 0 AND amount", name="ledger_pending_check"),
        Index(
            "ledger_pending_expiry",
            "expires_at",
            postgresql_where=text("state = 'pending' AND expires_at IS NOT NULL"),
        ),
        {"postgresql_with": {"fillfactor": 70}},
    )

    id: str = Field(sa_type=Text, primary_key=True)
    merchant_id: str | None = Field(default=None, sa_type=Text)
    debit_account: int = Field(sa_type=BigInteger)
    credit_account: int = Field(sa_type=BigInteger)
    amount: int = Field(sa_type=BigInteger)
    unit: str = Field(sa_type=Text)
    reference: str = Field(sa_type=Text)
    expires_at: datetime | None = Field(default=None, sa_column=_moment(nullable=True))
    state: str = Field(sa_type=Text)
    posted: int = Field(sa_column=_amount())
