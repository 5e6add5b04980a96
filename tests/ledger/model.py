"""The ledger as a plain Python model: a journal, and sums that are folded from it anew whenever they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from platform_core.kernel.commit import Refusal, TenantViolation
from platform_core.ledger.accounts import (
    Account,
    Guard,
    GuardRefused,
    Movement,
    PendingExceeded,
    PendingGone,
    Post,
    Transfer,
    TransferExists,
    Void,
)


@dataclass(frozen=True)
class Entry:
    """One line of the journal."""

    id: str
    kind: str
    debit: Account
    credit: Account
    amount: int
    code: str
    reference: str
    pending_id: str | None = None
    expires_at: datetime | None = None


@dataclass
class Model:
    """What the ledger of one merchant must hold."""

    merchant_id: str
    journal: list[Entry] = field(default_factory=list)

    def commit(self, parts: Sequence[Movement], now: datetime) -> Refusal | None:
        """All parts or none."""
        journal = list(self.journal)
        for part in parts:
            refusal = self._add(journal, part, now)
            if refusal is not None:
                return refusal
        self.journal = journal
        return None

    def sums(self, account: Account) -> tuple[int, int, int, int]:
        """Debits posted, credits posted, debits pending, credits pending."""
        return _sums(self.journal, account)

    def open_pendings(self) -> list[Entry]:
        """Pending transfers that nothing has resolved."""
        resolved = {entry.pending_id for entry in self.journal}
        return [entry for entry in self.journal if entry.kind == "pending" and entry.id not in resolved]

    def _add(self, journal: list[Entry], part: Movement, now: datetime) -> Refusal | None:
        same_id = [entry for entry in journal if entry.id == part.id]
        if same_id:
            return TransferExists(part.id, _agrees(part, same_id[0]))
        if isinstance(part, Transfer):
            return self._transfer(journal, part)
        return self._resolve(journal, part, now)

    def _transfer(self, journal: list[Entry], part: Transfer) -> Refusal | None:
        for account in (part.debit, part.credit):
            if account.merchant_id not in (None, self.merchant_id):
                return TenantViolation(str(account))
        room_to_give, room_to_take = _debit_room(journal, part.debit), _credit_room(journal, part.credit)
        amount = part.amount
        if part.balancing == "debit":
            amount = min(amount, room_to_give)
        if part.balancing == "credit":
            amount = min(amount, room_to_take)
        if amount == 0:
            return None
        if amount > room_to_give:
            return GuardRefused(str(part.debit), part.debit.role, room_to_give, amount)
        if amount > room_to_take:
            return GuardRefused(str(part.credit), part.credit.role, room_to_take, amount)
        kind = "pending" if part.is_pending else "transfer"
        sides = (part.debit, part.credit)
        journal.append(Entry(part.id, kind, *sides, amount, part.code, part.reference, None, part.expires_at))
        return None

    def _resolve(self, journal: list[Entry], part: Post | Void, now: datetime) -> Refusal | None:
        pending = next((e for e in journal if e.id == part.pending_id and e.kind == "pending"), None)
        if pending is None:
            return PendingGone(part.pending_id, "missing")
        for entry in journal:
            if entry.pending_id == pending.id:
                word = {"post": "posted", "void": "voided", "expire": "expired"}[entry.kind]
                return PendingGone(pending.id, word)
        is_over = pending.expires_at is not None and now >= pending.expires_at
        amount = pending.amount
        if isinstance(part, Post):
            if is_over:
                return PendingGone(pending.id, "expired")
            if part.amount is not None and part.amount > amount:
                return PendingExceeded(pending.id, amount, part.amount)
            kind, amount = "post", part.amount or amount
        else:
            if part.is_expiry and not is_over:
                return PendingGone(pending.id, "pending")
            kind = "expire" if part.is_expiry else "void"
        sides = (pending.debit, pending.credit)
        journal.append(Entry(part.id, kind, *sides, amount, part.code, pending.reference, pending.id))
        return None


_BOUNDLESS = 2**62


def _sums(journal: list[Entry], account: Account) -> tuple[int, int, int, int]:
    resolved = {entry.pending_id for entry in journal}

    def total(side: str, *, is_pending: bool) -> int:
        return sum(
            entry.amount
            for entry in journal
            if getattr(entry, side) == account
            and (
                entry.kind == "pending" and entry.id not in resolved
                if is_pending
                else entry.kind in ("transfer", "post")
            )
        )

    return (
        total("debit", is_pending=False),
        total("credit", is_pending=False),
        total("debit", is_pending=True),
        total("credit", is_pending=True),
    )


def _debit_room(journal: list[Entry], account: Account) -> int:
    debits, credits, held, _ = _sums(journal, account)
    return credits - debits - held if account.guard is Guard.GE0 else _BOUNDLESS


def _credit_room(journal: list[Entry], account: Account) -> int:
    debits, credits, _, held = _sums(journal, account)
    return debits - credits - held if account.guard is Guard.LE0 else _BOUNDLESS


def _agrees(part: Movement, entry: Entry) -> bool:
    if isinstance(part, Transfer):
        wanted = ("pending" if part.is_pending else "transfer", part.debit, part.credit, part.code, part.reference)
        is_amount_right = entry.amount == part.amount or (bool(part.balancing) and entry.amount <= part.amount)
        return is_amount_right and wanted == (entry.kind, entry.debit, entry.credit, entry.code, entry.reference)
    if isinstance(part, Post):
        return (entry.kind, entry.pending_id) == ("post", part.pending_id) and part.amount in (None, entry.amount)
    return (entry.kind, entry.pending_id) == ("expire" if part.is_expiry else "void", part.pending_id)
