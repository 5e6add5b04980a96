"""What is read from the ledger: frozen rows, never a table's object. Amounts are integers of the unit's minor part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from platform_core.ledger.accounts import Account, Guard


@dataclass(frozen=True, slots=True)
class AccountKey:
    """What makes an account one."""

    unit: str
    owner: str
    role: str
    bucket: str = ""


@dataclass(frozen=True, slots=True)
class AccountRecord:
    """An account with its sums."""

    id: int
    merchant_id: str | None
    unit: str
    owner: str
    role: str
    bucket: str
    guard: Guard
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    @property
    def posted(self) -> int:
        """Credits less debits, without what is pending."""
        return self.credits_posted - self.debits_posted

    @property
    def available(self) -> int | None:
        """What may still be debited from an account that never goes below zero; None for other guards."""
        return self.posted - self.debits_pending if self.guard is Guard.GE0 else None

    def account(self) -> Account:
        """The account as a transfer names it."""
        return Account(self.merchant_id, self.unit, self.owner, self.role, self.bucket, self.guard)


@dataclass(frozen=True, slots=True)
class CodeSums:
    """What one kind of movement took from an account and brought to it, posted."""

    debits: int
    credits: int


@dataclass(frozen=True, slots=True)
class AccountActivity:
    """An account and everything that ever moved on it, by the transfers' code; both as of one moment."""

    account: AccountRecord
    by_code: Mapping[str, CodeSums]


@dataclass(frozen=True, slots=True)
class AccountName:
    """One side of a transfer."""

    owner: str
    role: str
    bucket: str


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """A row of the journal. A side is None where it is an account that the reader may not see: the platform's own."""

    position: int
    id: str
    merchant_id: str | None
    kind: str
    debit: AccountName | None
    credit: AccountName | None
    unit: str
    amount: int
    pending_id: str | None
    reverses: str | None
    code: str
    reference: str
    created_at: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class StatementPosition:
    """Where a page of a statement ended."""

    created_at: datetime
    position: int


@dataclass(frozen=True, slots=True)
class StatementRow:
    """One movement of an account: `amount` is positive for a credit; `balance` is the posted balance behind it."""

    position: int
    transfer_id: str
    kind: str
    amount: int
    balance: int
    code: str
    reference: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AccountStatement:
    """The movements of an account in [since, until), oldest first: one page of them, with the window's two balances.

    `opening` + all rows of all pages = `closing`. `next` is None on the last page.
    """

    account: AccountRecord
    since: datetime
    until: datetime
    opening: int
    closing: int
    rows: tuple[StatementRow, ...]
    next: StatementPosition | None


@dataclass(frozen=True, slots=True)
class UnitSums:
    """All accounts of one unit together; both `net` values of a sound ledger are 0."""

    unit: str
    accounts: int
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int

    @property
    def net(self) -> int:
        """Credits less debits, posted."""
        return self.credits_posted - self.debits_posted

    @property
    def net_pending(self) -> int:
        """Credits less debits, pending."""
        return self.credits_pending - self.debits_pending


@dataclass(frozen=True, slots=True)
class TransferFilter:
    """Which transfers a list shows: of accounts in a role, or in a bucket, or both; of one code; of any of some
    references; booked in [since, until).
    """

    role: str | None = None
    bucket: str | None = None
    code: str | None = None
    references: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class DuePending:
    """A pending transfer whose time is over."""

    id: str
    merchant_id: str | None
    expires_at: datetime
