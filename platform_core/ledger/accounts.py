"""Accounts and what moves between them, as values.

The vocabulary is TigerBeetle's (docs.tigerbeetle.com, data model, read 2026-11-22).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Literal

import msgspec
from msgspec.structs import force_setattr

from platform_core.kernel.commit.plan import Refusal

AccountKey = tuple[str, str, str, str]  # unit, owner, role, bucket
METER: Final = "limit:"
"""Units that begin so count what was done under a limit. They are no value that anybody owns."""


class Guard(StrEnum):
    """May an account go below zero? balance = credits - debits; pending debits count, pending credits do not."""

    FREE = "free"  # mirrors the outside; any balance
    GE0 = "ge0"  # debits never exceed credits
    LE0 = "le0"  # credits never exceed debits


class Account(msgspec.Struct, frozen=True):
    """One account by its key (unit, owner, role, bucket), opened by the first transfer that names it.

    `merchant_id` is the tenant whose plans may touch it; None is the platform's own, shared by all. `unit` is an
    ISO 4217 currency or `kind:id`; amounts are integers of the unit's minor part.
    """

    merchant_id: str | None
    unit: str
    owner: str
    role: str
    bucket: str = ""
    guard: Guard = Guard.FREE
    key: AccountKey = ("", "", "", "")
    """What makes it one account; computed, whatever is given."""

    def __post_init__(self) -> None:
        force_setattr(self, "key", (self.unit, self.owner, self.role, self.bucket))

    def __str__(self) -> str:
        place = f"{self.role}/{self.bucket}" if self.bucket else self.role
        return f"{self.unit}:{self.owner}:{place}"


class Transfer(msgspec.Struct, frozen=True):
    """`amount` from `debit` to `credit`: at once, or as a pending transfer that is posted or voided later.

    All transfers of a plan are linked: all or none, each seeing what those before it did. `code` names the kind of
    movement, `reference` the object it belongs to. An `id` that was not minted (`tra_...`) makes the transfer
    idempotent: a second one with the same id is refused as `TransferExists`. `balancing` moves at most what the guard
    of that side leaves, down to nothing (then no row is written and the id stays free). `reverses` names the transfer
    that this one undoes.
    """

    id: str
    debit: Account
    credit: Account
    amount: int
    code: str
    reference: str
    is_pending: bool = False
    expires_at: datetime | None = None
    balancing: Literal["debit", "credit"] | None = None
    reverses: str | None = None

    def __post_init__(self) -> None:
        assert self.amount > 0 or (self.amount == 0 and self.balancing), f"a transfer moves something: {self}"
        assert self.debit.unit == self.credit.unit, f"a transfer stays in its unit: {self}"
        assert self.debit.key != self.credit.key, f"a transfer has two sides: {self}"
        assert self.expires_at is None or self.is_pending, f"only a pending transfer expires: {self}"


class Post(msgspec.Struct, frozen=True):
    """Make a pending transfer real: `amount` of it (None: all); what is left is released. Once only.

    Refused as `PendingGone` from `expires_at` on, also while nobody has voided it yet.
    """

    id: str
    pending_id: str
    amount: int | None = None
    code: str = "post"

    def __post_init__(self) -> None:
        assert self.amount is None or self.amount > 0, f"posting moves something: {self}"


class Void(msgspec.Struct, frozen=True):
    """Release a pending transfer. `is_expiry` says that nobody asked for it but time: refused before `expires_at`."""

    id: str
    pending_id: str
    is_expiry: bool = False
    code: str = "void"


@dataclass(frozen=True, slots=True)
class Close:
    """Let nothing more be taken out of an account: transfers that debit it are refused as `AccountClosed` from now on.

    Credits, and the posting and voiding of what is pending, stay possible. Closing twice changes nothing; there is no
    opening again. An account that nobody has used yet is opened closed.
    """

    account: Account


@dataclass(slots=True, eq=False)
class Reading:
    """Asks, in a plan, what an account could still give once the plan is in. Writes nothing and refuses nothing.

    Stands behind the plan's transfers. `left` is set when the plan was committed; None before that, and for an account
    that may go below zero. It is exact as of the plan's turn, whatever other processes do at the same time.
    """

    account: Account
    left: int | None = None


Movement = Transfer | Post | Void


@dataclass(frozen=True, slots=True)
class GuardRefused(Refusal):
    """The account would pass its guard: `available` is what it could still give (or take), `asked` what was wanted."""

    account: str
    role: str
    available: int
    asked: int


@dataclass(frozen=True, slots=True)
class PendingGone(Refusal):
    """The pending transfer cannot be posted or voided: posted, voided, expired, or unknown to this tenant (`missing`).

    State `pending`: an expiry came before its time.
    """

    pending_id: str
    state: str


@dataclass(frozen=True, slots=True)
class PendingExceeded(Refusal):
    """More was to be posted than is pending."""

    pending_id: str
    pending: int
    asked: int


@dataclass(frozen=True, slots=True)
class TransferExists(Refusal):
    """A transfer with this id is there; `is_same` when all that was asked agrees with it: it may be taken as done.

    A balancing transfer may have moved less than was asked and is the same nevertheless.
    """

    id: str
    is_same: bool


@dataclass(frozen=True, slots=True)
class AccountClosed(Refusal):
    """The account was closed: nothing more can be taken out of it."""

    account: str
    role: str


@dataclass(frozen=True, slots=True)
class AccountFull(Refusal):
    """The account's sums would pass what a balance can hold (2**62): a bug or an attack, never trade."""

    account: str


@dataclass(frozen=True, slots=True)
class AccountMismatch(Refusal):
    """The key names an account that was opened with another guard or for another tenant: a bug of the caller."""

    account: str
