"""Reads balances and statements, and decides what the ledger itself may want written: expiries and reversals."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.kernel.commit import Plan
from platform_core.kernel.database.pools import Database
from platform_core.kernel.ids import Ids
from platform_core.ledger import repository
from platform_core.ledger.accounts import Transfer, Void
from platform_core.ledger.errors import ACCOUNT_NOT_FOUND, TRANSFER_NOT_FOUND, TRANSFER_NOT_REVERSIBLE
from platform_core.ledger.records import (
    AccountActivity,
    AccountKey,
    AccountRecord,
    AccountStatement,
    StatementPosition,
    TransferFilter,
    TransferRecord,
    UnitSums,
)
from platform_core.ledger.verify import LedgerReport, verify

EXPIRIES_MAX = 500
REVERSAL_CODE = "reversal"


class LedgerService:
    """The ledger's front. Where a merchant is None the reader is the operator, who sees all tenants."""

    def __init__(self, database: Database, *, ids: Ids) -> None:
        self._database = database
        self._ids = ids

    async def balances(
        self,
        merchant_id: str,
        *,
        role: str | None = None,
        unit: str | None = None,
        bucket: str | None = None,
        after: tuple[str, int] = ("", 0),
        limit: int = 100,
    ) -> list[AccountRecord]:
        """A merchant's accounts with their sums, by role and age; `after`: role and id of the last one seen."""
        async with self._database.read(merchant_id) as connection:
            return await repository.accounts_of(
                connection, merchant_id, role=role, unit=unit, bucket=bucket, after=after, limit=limit
            )

    async def account(self, merchant_id: str | None, key: AccountKey) -> AccountRecord | None:
        """One account with its sums; None if it was never opened or the reader may not see it."""
        async with self._reading(merchant_id) as connection:
            return await repository.account_by_key(connection, key)

    async def accounts(self, merchant_id: str, keys: Sequence[AccountKey]) -> dict[AccountKey, AccountRecord]:
        """Several accounts as of one moment; one that was never opened is left out."""
        async with self._database.read(merchant_id) as connection:
            found = await repository.accounts_by_keys(connection, keys)
        return {AccountKey(record.unit, record.owner, record.role, record.bucket): record for record in found}

    async def activity(self, merchant_id: str, key: AccountKey) -> AccountActivity | None:
        """An account with what moved on it by code, as of one moment; for accounts of a day, whose history is short."""
        async with self._database.read(merchant_id) as connection:
            return await repository.activity_of(connection, key)

    async def accounts_by_last_part(
        self, merchant_id: str, *, role: str, unit: str, last_part: str, limit: int
    ) -> list[AccountRecord]:
        """Accounts of a role with something on them whose bucket ends in `/<last_part>`, such as a day; by age."""
        async with self._database.read(merchant_id) as connection:
            return await repository.accounts_by_last_part(
                connection, merchant_id, role=role, unit=unit, last_part=last_part, limit=limit
            )

    async def transfers(
        self,
        merchant_id: str,
        *,
        wanted: TransferFilter,
        before: StatementPosition | None = None,
        limit: int = 20,
    ) -> list[TransferRecord]:
        """A merchant's transfers of every kind, newest first, older than `before`."""
        async with self._database.read(merchant_id) as connection:
            return await repository.transfers_of(connection, merchant_id, wanted=wanted, before=before, limit=limit)

    async def transfers_about(self, merchant_id: str, references: Sequence[str]) -> list[TransferRecord]:
        """All transfers of these references, oldest first; for what has few, such as the acts on one payment."""
        async with self._database.read(merchant_id) as connection:
            return await repository.transfers_about(connection, merchant_id, references)

    async def statement(
        self,
        merchant_id: str | None,
        key: AccountKey,
        *,
        since: datetime,
        until: datetime,
        after: StatementPosition | None = None,
        limit: int = 100,
    ) -> AccountStatement:
        """What moved on an account in [since, until), both aware, with opening, running and closing balance.

        A window whose end has passed never changes. Raises `ledger.account_not_found`.
        """
        async with self._reading(merchant_id) as connection:
            account = await repository.account_by_key(connection, key)
            if account is None:
                name = f"{key.unit}:{key.owner}:{key.role}" + (f"/{key.bucket}" if key.bucket else "")
                raise ACCOUNT_NOT_FOUND.error({"account": name})
            opening, closing, rows = await repository.statement_page(
                connection, account.id, window=(since, until), after=after, limit=limit + 1
            )
        page = tuple(rows[:limit])
        last = StatementPosition(page[-1].created_at, page[-1].position) if len(rows) > limit else None
        return AccountStatement(account, since, until, opening, closing, page, last)

    async def trial_balance(self) -> list[UnitSums]:
        """The sums of all accounts of all tenants by unit; each `net` of a sound ledger is 0."""
        async with self._database.read_all() as connection:
            return await repository.unit_sums(connection)

    async def expire_pending(self, now: datetime, *, limit: int = EXPIRIES_MAX) -> list[Plan]:
        """Plans that release pending transfers past their time, oldest first, each alone; `answer` is the pending's id.

        Commit them all and call again while `limit` came back. Safe to run twice at once: the plan that comes second is
        refused as `PendingGone`, which means that there is nothing left to do.
        """
        async with self._database.read_all() as connection:
            due = await repository.due_pendings(connection, now=now, limit=limit)
        return [
            Plan(pending.merchant_id, [Void(self._ids.mint("tra"), pending.id, is_expiry=True)], pending.id)
            for pending in due
        ]

    async def reverse(
        self, merchant_id: str | None, transfer_id: str, *, reference: str, code: str = REVERSAL_CODE
    ) -> Plan:
        """A plan that moves back what a transfer moved, once: a second one is refused as `TransferExists`.

        The plan acts for the transfer's own merchant; `answer` is the new transfer's id. Guards apply: what has been
        spent since cannot be moved back. Raises `ledger.transfer_not_found`, `ledger.transfer_not_reversible`.
        """
        async with self._reading(merchant_id) as connection:
            found = await repository.transfer_with_accounts(connection, transfer_id)
        if found is None:
            raise TRANSFER_NOT_FOUND.error({"transfer_id": transfer_id})
        transfer, debit, credit = found
        if transfer.kind not in ("transfer", "post"):
            raise TRANSFER_NOT_REVERSIBLE.error({"transfer_id": transfer_id, "kind": transfer.kind})
        back = Transfer(
            id=reversal_id(transfer_id),
            debit=credit.account(),
            credit=debit.account(),
            amount=transfer.amount,
            code=code,
            reference=reference,
            reverses=transfer_id,
        )
        return Plan(transfer.merchant_id, [back], back.id)

    async def verify(self, now: datetime) -> LedgerReport:
        """Recompute the whole ledger; see `verify.verify`. Reads all of history: for command line and nights."""
        return await verify(self._database, now=now)

    def _reading(self, merchant_id: str | None) -> AbstractAsyncContextManager[AsyncConnection]:
        return self._database.read_all() if merchant_id is None else self._database.read(merchant_id)


def reversal_id(transfer_id: str) -> str:
    """The natural id of a transfer's full reversal: there can be one."""
    return f"rev:{transfer_id}"
