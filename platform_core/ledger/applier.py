"""Applies transfers: locks a batch's accounts in one order, judges in Python, writes one net update per account."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, cast

import asyncpg

from platform_core.kernel.clock import Clock
from platform_core.kernel.commit.plan import Look, Plan, Refusal, Statement, TenantViolation, lock_key
from platform_core.ledger.accounts import (
    Account,
    AccountClosed,
    AccountFull,
    AccountMismatch,
    Close,
    Guard,
    GuardRefused,
    Movement,
    PendingExceeded,
    PendingGone,
    Post,
    Reading,
    Transfer,
    TransferExists,
    Void,
)

MINTED = "tra_"
AMOUNT_MAX = 2**62  # of any balance: far beyond all money, and half of what the column holds


@dataclass(slots=True)
class Balance:
    """An account as seen under its lock and as moved since."""

    id: int
    merchant_id: str | None
    name: str
    role: str
    guard: str
    debits_posted: int
    credits_posted: int
    debits_pending: int
    credits_pending: int
    moved_at: datetime
    is_closed: bool

    @property
    def posted(self) -> int:
        """Credits less debits, without what is pending."""
        return self.credits_posted - self.debits_posted

    def debit_room(self) -> int | None:
        """What may still be debited; None: anything."""
        if self.guard != Guard.GE0:
            return None
        return self.credits_posted - self.debits_posted - self.debits_pending

    def credit_room(self) -> int | None:
        """What may still be credited; None: anything."""
        if self.guard != Guard.LE0:
            return None
        return self.debits_posted - self.credits_posted - self.credits_pending

    def copy(self) -> Balance:
        """Staging works on copies."""
        return Balance(
            self.id,
            self.merchant_id,
            self.name,
            self.role,
            self.guard,
            self.debits_posted,
            self.credits_posted,
            self.debits_pending,
            self.credits_pending,
            self.moved_at,
            self.is_closed,
        )


@dataclass(frozen=True, slots=True)
class Pending:
    """A pending transfer as seen under its lock, or as this batch made it (`is_new`)."""

    id: str
    merchant_id: str | None
    debit_id: int
    credit_id: int
    amount: int
    expires_at: datetime | None
    state: str
    unit: str
    reference: str
    posted: int = 0
    is_new: bool = False


# id, tenant, kind, debit, credit, unit, amount, pending id, reverses, code, reference, created, expires, balances after
TransferRow = tuple[
    str, str | None, str, int, int, str, int, str | None, str | None, str, str, datetime, datetime | None, int, int
]
# kind, debit, credit, amount, pending id, code, reference
ExistingRow = tuple[str, int, int, int, str | None, str, str]
# debited, credited, amount, pending id, unit, reference
Moved = tuple[Balance, Balance, int, str | None, str, str]


class LedgerApplier:
    """Applies `Transfer`, `Post`, `Void` and `Close`, and answers `Reading`."""

    part_types: tuple[type, ...] = (Transfer, Post, Void, Close, Reading)
    ACCOUNTS_KNOWN_MAX = 200_000

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.account_ids: dict[tuple[str, str, str, str], int] = {}

    def begin(self, plans: Sequence[tuple[Plan, Sequence[object]]]) -> LedgerWork:
        """Start on a batch."""
        if len(self.account_ids) > self.ACCOUNTS_KNOWN_MAX:
            self.account_ids.clear()
        return LedgerWork(self, plans)


_OPEN = """
INSERT INTO ledger_account (merchant_id, unit, owner, role, bucket, guard)
SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[])
ON CONFLICT (unit, owner, role, bucket) DO NOTHING
"""
_FIND = """
SELECT a.id, a.unit, a.owner, a.role, a.bucket
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS v(unit, owner, role, bucket)
JOIN ledger_account AS a USING (unit, owner, role, bucket)
"""
_LOOK_PENDING = """
SELECT id, merchant_id, debit_account, credit_account, amount, expires_at, state, unit, reference
FROM ledger_pending WHERE id = ANY({0}::text[]) ORDER BY id FOR UPDATE
"""
_LOOK_EXISTING = """
SELECT id, kind, debit_account, credit_account, amount, pending_id, code, reference
FROM ledger_transfer WHERE id = ANY({0}::text[])
"""
# The tenant of each plan travels with the account it names: another tenant's account is not even seen.
_LOOK_ACCOUNTS = """
SELECT v.tenant, a.id, a.merchant_id,
       a.unit || ':' || a.owner || ':' || a.role || CASE a.bucket WHEN '' THEN '' ELSE '/' || a.bucket END,
       a.role, a.guard, a.debits_posted, a.credits_posted, a.debits_pending, a.credits_pending, a.moved_at,
       a.is_closed
FROM ledger_account AS a JOIN unnest({0}::bigint[], {1}::text[]) AS v(id, tenant) ON a.id = v.id
WHERE a.merchant_id IS NULL OR a.merchant_id = v.tenant
ORDER BY a.id FOR UPDATE OF a
"""
_INSERT_TRANSFERS = (
    "INSERT INTO ledger_transfer (id, merchant_id, kind, debit_account, credit_account, unit, amount, pending_id, "
    "reverses, code, reference, created_at, expires_at, debit_after, credit_after) "
    "SELECT * FROM unnest({0}::text[], {1}::text[], {2}::text[], {3}::bigint[], {4}::bigint[], {5}::text[], "
    "{6}::bigint[], {7}::text[], {8}::text[], {9}::text[], {10}::text[], {11}::timestamptz[], "
    "{12}::timestamptz[], {13}::bigint[], {14}::bigint[]) RETURNING 1"
)
_UPDATE_ACCOUNTS = (
    "UPDATE ledger_account AS a SET debits_posted = v.dp, credits_posted = v.cp, debits_pending = v.dn, "
    "credits_pending = v.cn, moved_at = v.moved_at "
    "FROM unnest({0}::bigint[], {1}::text[], {2}::bigint[], {3}::bigint[], {4}::bigint[], {5}::bigint[], "
    "{6}::timestamptz[]) AS v(id, tenant, dp, cp, dn, cn, moved_at) "
    "WHERE a.id = v.id AND (a.merchant_id IS NULL OR a.merchant_id = v.tenant) RETURNING 1"
)
# For batches that close accounts. All statements of a batch go out as one, which can write a row but once.
_UPDATE_AND_CLOSE = (
    "UPDATE ledger_account AS a SET debits_posted = v.dp, credits_posted = v.cp, debits_pending = v.dn, "
    "credits_pending = v.cn, moved_at = v.moved_at, is_closed = v.is_closed "
    "FROM unnest({0}::bigint[], {1}::text[], {2}::bigint[], {3}::bigint[], {4}::bigint[], {5}::bigint[], "
    "{6}::timestamptz[], {7}::boolean[]) AS v(id, tenant, dp, cp, dn, cn, moved_at, is_closed) "
    "WHERE a.id = v.id AND (a.merchant_id IS NULL OR a.merchant_id = v.tenant) RETURNING 1"
)
_INSERT_PENDING = (
    "INSERT INTO ledger_pending (id, merchant_id, debit_account, credit_account, amount, expires_at, state, unit, "
    "reference, posted) SELECT * FROM unnest({0}::text[], {1}::text[], {2}::bigint[], {3}::bigint[], {4}::bigint[], "
    "{5}::timestamptz[], {6}::text[], {7}::text[], {8}::text[], {9}::bigint[]) RETURNING 1"
)
_RESOLVE_PENDING = (
    "UPDATE ledger_pending AS p SET state = v.state, posted = v.posted "
    "FROM unnest({0}::text[], {1}::text[], {2}::text[], {3}::bigint[]) AS v(id, tenant, state, posted) "
    "WHERE p.id = v.id AND p.merchant_id IS NOT DISTINCT FROM v.tenant AND p.state = 'pending' RETURNING 1"
)


class LedgerWork:
    """Transfers of one batch."""

    def __init__(self, applier: LedgerApplier, plans: Sequence[tuple[Plan, Sequence[object]]]) -> None:
        self._clock = applier.clock
        self._ids = applier.account_ids
        self._accounts: dict[tuple[str, str, str, str], Account] = {}
        self._touched: set[tuple[tuple[str, str, str, str], str | None]] = set()
        self._pending_wanted: set[tuple[str, str | None]] = set()
        self._named: set[str] = set()
        for plan, parts in plans:
            for part in parts:
                assert isinstance(part, Transfer | Post | Void | Close | Reading)
                self._want(plan.merchant_id, part)
        self._pending: dict[str, Pending] = {}
        self._has_seen_pending = False
        self._wanted_by_pending: set[tuple[int, str | None]] = set()
        self.has_seen_all = False
        self._existing: dict[str, ExistingRow] = {}
        self._seen: dict[int, Balance] = {}
        self._visible: set[tuple[int, str | None]] = set()
        self._tenant_of: dict[int, str | None] = {}
        self._staged: dict[int, Balance] = {}
        self._staged_pending: dict[str, Pending] = {}
        self._staged_existing: dict[str, ExistingRow] = {}
        self._staged_rows: list[TransferRow] = []
        self._staged_readings: list[tuple[Reading, int]] = []
        self._rows: list[TransferRow] = []
        self._moved: set[int] = set()
        self._is_closing_staged = False
        self._is_closing = False

    def _want(self, merchant_id: str | None, part: Movement | Close | Reading) -> None:
        if isinstance(part, Close | Reading):
            self._touch(merchant_id, part.account)
            return
        if not part.id.startswith(MINTED):
            self._named.add(part.id)
        if not isinstance(part, Transfer):
            self._pending_wanted.add((part.pending_id, merchant_id))
            return
        self._touch(merchant_id, part.debit)
        self._touch(merchant_id, part.credit)

    def _touch(self, merchant_id: str | None, account: Account) -> None:
        if account.merchant_id is None or account.merchant_id == merchant_id:
            self._accounts.setdefault(account.key, account)
            self._touched.add((account.key, merchant_id))

    def lock_keys(self) -> Iterable[int]:
        """Transfers named by their callers are claimed like any natural key."""
        return (lock_key("ledger_transfer", (id_,)) for id_ in self._named)

    async def prepare(self, connection: asyncpg.Connection) -> None:
        """Open the accounts that are named for the first time. An empty account harms nobody if the batch fails."""
        unknown = sorted(key for key in self._accounts if key not in self._ids)
        if not unknown:
            return
        accounts = [self._accounts[key] for key in unknown]
        keys = [list(column) for column in zip(*unknown, strict=True)]
        await connection.execute(
            _OPEN, [account.merchant_id for account in accounts], *keys, [account.guard.value for account in accounts]
        )
        for row in await connection.fetch(_FIND, *keys):
            self._ids[row[1], row[2], row[3], row[4]] = row[0]

    def looks(self) -> Sequence[Look]:
        """Pending transfers by id, then all accounts by id, locked until the batch is committed.

        Which accounts a pending transfer touches is only known once it is seen, so these come in two rounds.
        """
        looks = []
        if self._named:
            looks.append(Look(_LOOK_EXISTING, (sorted(self._named),), self._take_existing))
            self._named = set()
        if self._pending_wanted and not self._has_seen_pending:
            looks.append(Look(_LOOK_PENDING, (sorted({id_ for id_, _ in self._pending_wanted}),), self._take_pending))
            self._has_seen_pending = True
            return looks
        self.has_seen_all = True
        wanted = {(self._ids[key], tenant) for key, tenant in self._touched} | self._wanted_by_pending
        if wanted:
            ordered = sorted(wanted, key=lambda pair: pair[0])
            arrays = ([id_ for id_, _ in ordered], [tenant for _, tenant in ordered])
            looks.append(Look(_LOOK_ACCOUNTS, arrays, self._take_accounts))
        return looks

    def _take_existing(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for id_, *rest in rows:
            self._existing[id_] = cast(ExistingRow, tuple(rest))

    def _take_pending(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for row in rows:
            pending = Pending(*row)
            self._pending[pending.id] = pending
            if (pending.id, pending.merchant_id) in self._pending_wanted:
                self._wanted_by_pending |= {
                    (pending.debit_id, pending.merchant_id),
                    (pending.credit_id, pending.merchant_id),
                }

    def _take_accounts(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """The clock is read once all locks are held: what waited for another process is booked after that one's."""
        for tenant, id_, *rest in rows:
            self._visible.add((id_, tenant))
            self._tenant_of[id_] = tenant
            if id_ not in self._seen:
                self._seen[id_] = Balance(id_, *rest)
        self._now = self._clock.now()

    def judge(self, plan: Plan, parts: Sequence[object]) -> Refusal | None:
        """Guards, pending states and tenants, transfer by transfer in the plan's order."""
        for part in parts:
            if isinstance(part, Close | Reading):
                refusal = self._judge_close(plan, part) if isinstance(part, Close) else self._judge_reading(plan, part)
                if refusal is not None:
                    return refusal
                continue
            assert isinstance(part, Transfer | Post | Void)
            existing = self._staged_existing.get(part.id) or self._existing.get(part.id)
            if existing is not None:
                return TransferExists(part.id, self._is_same(part, existing))
            if isinstance(part, Transfer):
                refusal = self._judge_transfer(plan, part)
            else:
                refusal = self._judge_resolution(plan, part)
            if refusal is not None:
                return refusal
        return None

    def keep(self) -> None:
        """Staged balances and pending states become what the next plan sees."""
        self._seen |= self._staged
        self._moved |= self._staged.keys()
        self._pending |= self._staged_pending
        self._existing |= self._staged_existing
        self._rows += self._staged_rows
        self._is_closing |= self._is_closing_staged
        for reading, account_id in self._staged_readings:
            reading.left = self._seen[account_id].debit_room()
        self.drop()

    def drop(self) -> None:
        """Forget what was staged."""
        self._staged = {}
        self._staged_pending = {}
        self._staged_existing = {}
        self._staged_rows = []
        self._staged_readings = []
        self._is_closing_staged = False

    def statements(self) -> list[Statement]:
        """Transfers, new and resolved pendings, one net update per account in the order of ids."""
        if not self._rows:
            return [self._balances()] if self._is_closing else []
        statements = [_statement(_INSERT_TRANSFERS, self._rows)]
        made = [p for p in self._pending.values() if p.is_new]
        if made:
            rows = [
                (
                    p.id,
                    p.merchant_id,
                    p.debit_id,
                    p.credit_id,
                    p.amount,
                    p.expires_at,
                    p.state,
                    p.unit,
                    p.reference,
                    p.posted,
                )
                for p in made
            ]
            statements.append(_statement(_INSERT_PENDING, rows))
        resolved = [self._pending[row[7]] for row in self._rows if row[7] is not None]
        found = sorted((p.id, p.merchant_id, p.state, p.posted) for p in resolved if not p.is_new)
        if found:
            statements.append(_statement(_RESOLVE_PENDING, found))
        return [*statements, self._balances()]

    def _balances(self) -> Statement:
        """What every account that was touched holds now."""
        balances = [
            (
                id_,
                self._tenant_of[id_],
                b.debits_posted,
                b.credits_posted,
                b.debits_pending,
                b.credits_pending,
                b.moved_at,
            )
            for id_, b in ((id_, self._seen[id_]) for id_ in sorted(self._moved))
        ]
        if not self._is_closing:
            return _statement(_UPDATE_ACCOUNTS, balances)
        closing = [(*balance, self._seen[balance[0]].is_closed) for balance in balances]
        return _statement(_UPDATE_AND_CLOSE, closing)

    def _judge_transfer(self, plan: Plan, part: Transfer) -> Refusal | None:
        refusal = self._judge_account(plan, part.debit) or self._judge_account(plan, part.credit)
        if refusal is not None:
            return refusal
        debit, credit = self._stage(self._ids[part.debit.key]), self._stage(self._ids[part.credit.key])
        if debit.is_closed:
            return AccountClosed(debit.name, debit.role)
        amount = _balanced(part, debit, credit)
        if amount == 0:
            return None
        refusal = _guarded(amount, debit, credit)
        if refusal is not None:
            return refusal
        if part.is_pending:
            debit.debits_pending += amount
            credit.credits_pending += amount
            self._staged_pending[part.id] = Pending(
                part.id,
                plan.merchant_id,
                debit.id,
                credit.id,
                amount,
                part.expires_at,
                "pending",
                part.debit.unit,
                part.reference,
                is_new=True,
            )
        else:
            debit.debits_posted += amount
            credit.credits_posted += amount
        self._book(plan, part, _kind(part), (debit, credit, amount, None, part.debit.unit, part.reference))
        return None

    def _judge_account(self, plan: Plan, account: Account) -> Refusal | None:
        if (self._ids.get(account.key), plan.merchant_id) not in self._visible:
            return TenantViolation(str(account))
        seen = self._seen[self._ids[account.key]]
        if seen.guard != account.guard or seen.merchant_id != account.merchant_id:
            return AccountMismatch(str(account))
        return None

    def _judge_close(self, plan: Plan, part: Close) -> Refusal | None:
        if part.account.merchant_id != plan.merchant_id:
            return TenantViolation(str(part.account))
        refusal = self._judge_account(plan, part.account)
        if refusal is not None:
            return refusal
        self._stage(self._ids[part.account.key]).is_closed = True
        self._is_closing_staged = True
        return None

    def _judge_reading(self, plan: Plan, part: Reading) -> Refusal | None:
        refusal = self._judge_account(plan, part.account)
        if refusal is None:
            self._staged_readings.append((part, self._ids[part.account.key]))
        return refusal

    def _judge_resolution(self, plan: Plan, part: Post | Void) -> Refusal | None:
        pending = self._staged_pending.get(part.pending_id) or self._pending.get(part.pending_id)
        if pending is None or pending.merchant_id != plan.merchant_id:
            return PendingGone(part.pending_id, "missing")
        if pending.state != "pending":
            return PendingGone(part.pending_id, pending.state)
        is_late = pending.expires_at is not None and pending.expires_at <= self._now
        amount = pending.amount
        if isinstance(part, Post):
            if is_late:
                return PendingGone(part.pending_id, "expired")
            amount = pending.amount if part.amount is None else part.amount
            if amount > pending.amount:
                return PendingExceeded(part.pending_id, pending.amount, amount)
        elif part.is_expiry and not is_late:
            return PendingGone(part.pending_id, "pending")
        debit, credit = self._stage(pending.debit_id), self._stage(pending.credit_id)
        debit.debits_pending -= pending.amount
        credit.credits_pending -= pending.amount
        kind = _kind(part)
        if kind == "post":
            debit.debits_posted += amount
            credit.credits_posted += amount
        posted = amount if kind == "post" else 0
        self._staged_pending[pending.id] = replace(pending, state=_STATE[kind], posted=posted)
        self._book(plan, part, kind, (debit, credit, amount, pending.id, pending.unit, pending.reference))
        return None

    def _book(self, plan: Plan, part: Movement, kind: str, moved: Moved) -> None:
        """Stage the row of what was moved. Within an account the time of booking never steps back."""
        debit, credit, amount, pending_id, unit, reference = moved
        booked_at = max(self._now, debit.moved_at, credit.moved_at)
        debit.moved_at = credit.moved_at = booked_at
        self._staged_rows.append(
            (
                part.id,
                plan.merchant_id,
                kind,
                debit.id,
                credit.id,
                unit,
                amount,
                pending_id,
                part.reverses if isinstance(part, Transfer) else None,
                part.code,
                reference,
                booked_at,
                part.expires_at if isinstance(part, Transfer) else None,
                debit.posted,
                credit.posted,
            )
        )
        self._staged_existing[part.id] = (kind, debit.id, credit.id, amount, pending_id, part.code, reference)

    def _stage(self, id_: int) -> Balance:
        staged = self._staged.get(id_)
        if staged is None:
            self._staged[id_] = staged = self._seen[id_].copy()
        return staged

    def _is_same(self, part: Movement, existing: ExistingRow) -> bool:
        kind, debit_id, credit_id, amount, pending_id, code, reference = existing
        if (kind, code) != (_kind(part), part.code):
            return False
        if isinstance(part, Transfer):
            is_amount_same = amount == part.amount or (part.balancing is not None and amount <= part.amount)
            sides = (self._ids.get(part.debit.key), self._ids.get(part.credit.key))
            return is_amount_same and sides == (debit_id, credit_id) and reference == part.reference
        return pending_id == part.pending_id and (isinstance(part, Void) or part.amount in (None, amount))


_STATE = {"post": "posted", "void": "voided", "expire": "expired"}


def _kind(part: Movement) -> str:
    if isinstance(part, Transfer):
        return "pending" if part.is_pending else "transfer"
    if isinstance(part, Post):
        return "post"
    return "expire" if part.is_expiry else "void"


def _statement(sql: str, rows: Sequence[tuple[object, ...]]) -> Statement:
    return Statement(sql, tuple(map(list, zip(*rows, strict=True))), len(rows))


def _balanced(part: Transfer, debit: Balance, credit: Balance) -> int:
    """The amount to move: as asked, or what the guard of the balancing side leaves of it."""
    if part.balancing is None:
        return part.amount
    room = debit.debit_room() if part.balancing == "debit" else credit.credit_room()
    return part.amount if room is None else max(0, min(part.amount, room))


def _guarded(amount: int, debit: Balance, credit: Balance) -> Refusal | None:
    room = debit.debit_room()
    if room is not None and amount > room:
        return GuardRefused(debit.name, debit.role, room, amount)
    room = credit.credit_room()
    if room is not None and amount > room:
        return GuardRefused(credit.name, credit.role, room, amount)
    if debit.debits_posted + debit.debits_pending + amount > AMOUNT_MAX:
        return AccountFull(debit.name)
    if credit.credits_posted + credit.credits_pending + amount > AMOUNT_MAX:
        return AccountFull(credit.name)
    return None
