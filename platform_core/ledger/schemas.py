"""Answers of the ledger's routes. Amounts are integers of the unit's minor part; a unit is a currency or `kind:id`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from platform_core.ledger.records import AccountName, AccountRecord, TransferRecord


class BalanceRead(BaseModel):
    """One account of the merchant and what stands on it. Balance = credits - debits."""

    model_config = ConfigDict(frozen=True)

    unit: str = Field(examples=["CNY"])
    owner: str
    role: str = Field(examples=["merchant_available"])
    bucket: str = Field(description="What the role is divided by, such as a channel account; empty if it is not.")
    guard: Literal["free", "ge0", "le0"] = Field(description="Whether it may go below (ge0) or above (le0) zero.")
    posted_minor: int
    pending_debits_minor: int = Field(description="Held: will leave the account if it is posted.")
    pending_credits_minor: int = Field(description="Expected: will arrive if it is posted.")
    available_minor: int | None = Field(description="posted less held, where the guard is ge0; else null.")


class TransferSide(BaseModel):
    """The account on one side of a transfer."""

    model_config = ConfigDict(frozen=True)

    owner: str
    role: str
    bucket: str


class TransferRead(BaseModel):
    """One row of the journal. `pending` holds, `post` moves what was held, `void` and `expire` release it."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: Literal["transfer", "pending", "post", "void", "expire"]
    debit: TransferSide | None = Field(description="Null: an account of the platform.")
    credit: TransferSide | None = Field(description="Null: an account of the platform.")
    unit: str
    amount_minor: int
    code: str
    reference: str = Field(description="The object that the movement belongs to.")
    pending_id: str | None
    reverses: str | None = Field(description="The transfer that this one undoes.")
    created_at: datetime
    expires_at: datetime | None


def show_balance(account: AccountRecord) -> BalanceRead:
    """An account as it is answered."""
    return BalanceRead(
        unit=account.unit,
        owner=account.owner,
        role=account.role,
        bucket=account.bucket,
        guard=account.guard.value,
        posted_minor=account.posted,
        pending_debits_minor=account.debits_pending,
        pending_credits_minor=account.credits_pending,
        available_minor=account.available,
    )


def show_transfer(transfer: TransferRecord) -> TransferRead:
    """A transfer as it is answered."""
    return TransferRead(
        id=transfer.id,
        kind=transfer.kind,
        debit=_side(transfer.debit),
        credit=_side(transfer.credit),
        unit=transfer.unit,
        amount_minor=transfer.amount,
        code=transfer.code,
        reference=transfer.reference,
        pending_id=transfer.pending_id,
        reverses=transfer.reverses,
        created_at=transfer.created_at,
        expires_at=transfer.expires_at,
    )


def _side(name: AccountName | None) -> TransferSide | None:
    return None if name is None else TransferSide(owner=name.owner, role=name.role, bucket=name.bucket)
