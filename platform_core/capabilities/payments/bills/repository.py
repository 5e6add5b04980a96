"""All queries of bills. Those that read the ledger go through one snapshot of the workers' role."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import Any, Final

import asyncpg
from sqlalchemy import select, text
from sqlmodel import SQLModel, col

from platform_core.capabilities.payments.bills.figures import AccountBalance
from platform_core.capabilities.payments.bills.folding import Key, Moved
from platform_core.capabilities.payments.bills.models import Bill, BillPart
from platform_core.capabilities.payments.bills.references import catalogue
from platform_core.capabilities.payments.bills.rows import Names
from platform_core.capabilities.payments.models import Payment, Transaction
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of

MAKE: Final = "payments.bill"  # due: make a merchant's next bill; the subject is the merchant
_CURRENCY: Final = "~ '^[A-Z]{3}$'"


def _columns(model: type[SQLModel]) -> str:
    return ", ".join(f'"{column.name}"' for column in table_of(model).columns)


# Backwards through the merchant's index, whose order spells out where NULLs would stand.
_PAGE: Final = f"""
SELECT t.position, t.id, t.created_at, t.unit, t.amount, t.code, t.reference, d.role, c.role
FROM (
  SELECT * FROM ledger_transfer
  WHERE merchant_id = $1 AND created_at >= $2 AND created_at < $3 AND (created_at, position) > ($4, $5)
    AND kind IN ('transfer', 'post') AND unit {_CURRENCY}
  ORDER BY created_at NULLS FIRST, position NULLS FIRST LIMIT $6
) AS t JOIN ledger_account AS d ON d.id = t.debit_account JOIN ledger_account AS c ON c.id = t.credit_account
ORDER BY t.created_at, t.position
"""
_AT: Final = """
(SELECT after FROM (
  (SELECT created_at, position, debit_after AS after FROM ledger_transfer
   WHERE debit_account = a.id AND created_at < {moment} ORDER BY created_at DESC, position DESC LIMIT 1)
  UNION ALL
  (SELECT created_at, position, credit_after FROM ledger_transfer
   WHERE credit_account = a.id AND created_at < {moment} ORDER BY created_at DESC, position DESC LIMIT 1)
 ) AS last ORDER BY created_at DESC, position DESC LIMIT 1)
"""
# By the balances that stand on the transfers, not by their amounts: the rows are held against another witness.
_BALANCES: Final = f"""
SELECT unit, role, sum(opening)::bigint, sum(closing)::bigint FROM (
  SELECT a.unit, a.role,
    CASE WHEN a.moved_at < $2 THEN a.credits_posted - a.debits_posted ELSE coalesce({_AT.format(moment="$2")}, 0) END
      AS opening,
    CASE WHEN a.moved_at < $3 THEN a.credits_posted - a.debits_posted ELSE coalesce({_AT.format(moment="$3")}, 0) END
      AS closing
  FROM ledger_account AS a
  WHERE a.merchant_id = $1 AND a.unit {_CURRENCY} AND a.role LIKE 'merchant\\_%'
    AND (a.moved_at >= $2 OR a.credits_posted <> a.debits_posted)
) AS ends GROUP BY unit, role ORDER BY unit, role
"""
_PAYMENTS: Final = (
    "SELECT id, out_trade_no, form, store_id, terminal_id, operator_id, order_minor, order_minor - payable_minor "
    "FROM pay_payment WHERE merchant_id = $1 AND id = ANY ($2::text[])"
)
_PAYMENT_ROWS: Final = f"SELECT {_columns(Payment)} FROM pay_payment WHERE merchant_id = $1 AND id = ANY ($2::text[])"
_TRANSACTION_ROWS: Final = (
    f"SELECT {_columns(Transaction)} FROM pay_transaction WHERE merchant_id = $1 AND payment_id = ANY ($2::text[]) "
    "ORDER BY created_at, id"
)
_ABOUT: Final = """
SELECT t.position, t.id, t.created_at, t.unit, t.amount, t.code, t.reference, d.role, c.role
FROM ledger_transfer AS t JOIN ledger_account AS d ON d.id = t.debit_account
JOIN ledger_account AS c ON c.id = t.credit_account
WHERE t.merchant_id = $1 AND t.reference = ANY ($2::text[]) AND t.kind IN ('transfer', 'post')
ORDER BY t.created_at, t.position
"""
# A sale that a cancel found paid is booked under the cancel's name.
_UNBOOKED: Final = """
SELECT t.id FROM pay_transaction AS t
WHERE t.merchant_id = $1 AND t.state = 'succeeded' AND t.kind IN ('sale', 'capture', 'refund') AND t.amount_minor > 0
  AND t.finished_at >= $2 AND t.finished_at < $3
  AND NOT EXISTS (SELECT 1 FROM ledger_transfer AS l WHERE l.reference = t.id AND l.kind IN ('transfer', 'post'))
  AND NOT EXISTS (SELECT 1 FROM pay_transaction AS o JOIN ledger_transfer AS l ON l.reference = o.id
                  WHERE o.payment_id = t.payment_id AND l.code = 'cancel')
ORDER BY t.id LIMIT $4
"""
_FIRST_MOVED: Final = text(
    f"SELECT created_at FROM ledger_transfer WHERE merchant_id = :merchant_id AND created_at >= :since "
    f"AND kind IN ('transfer', 'post') AND unit {_CURRENCY} "
    "ORDER BY created_at NULLS FIRST, position NULLS FIRST LIMIT 1"
)
_WITHOUT_WORK: Final = text(
    f"SELECT DISTINCT a.merchant_id FROM ledger_account AS a WHERE a.merchant_id IS NOT NULL AND a.unit {_CURRENCY} "
    "AND NOT EXISTS (SELECT 1 FROM due AS w WHERE w.kind = :kind AND w.subject_id = a.merchant_id) "
    "AND a.moved_at >= coalesce((SELECT max(b.until) FROM pay_bill AS b WHERE b.merchant_id = a.merchant_id "
    "AND b.state = 'published'), '-infinity') LIMIT :limit"
)


class BillSnapshot:
    """One moment of the database, for as long as a bill is made from it."""

    def __init__(self, connection: asyncpg.Connection[Any]) -> None:
        self._connection = connection

    async def page(
        self, merchant_id: str, *, since: datetime, until: datetime, after: Key | None, limit: int
    ) -> list[Moved]:
        """What moved a merchant's money in [since, until), in the order of booking, from behind `after`."""
        behind = after or (since, -1)
        rows = await self._connection.fetch(_PAGE, merchant_id, since, until, *behind, limit)
        return [Moved(*row) for row in rows]

    async def names(self, merchant_id: str, references: Sequence[str]) -> dict[str, Names]:
        """What documents say of references; of those that no table knows, nothing."""
        by_prefix: dict[str, list[str]] = {}
        for reference in references:
            by_prefix.setdefault(reference.partition("_")[0], []).append(reference)
        found: dict[str, Names] = {}
        for prefix, ids in by_prefix.items():
            table = catalogue().get(prefix)
            if table is not None:
                for row in await self._connection.fetch(table.sql(), merchant_id, ids):
                    payment_id, transaction_id, out_request_no, provider, reference = (
                        row[n] or "" for n in range(1, 6)
                    )
                    found[row[0]] = Names(
                        payment_id=payment_id,
                        transaction_id=transaction_id,
                        out_request_no=out_request_no,
                        provider=provider,
                        provider_reference=reference,
                    )
        payments = await self._payments(merchant_id, {names.payment_id for names in found.values()})
        return {id_: _of_payment(names, payments.get(names.payment_id)) for id_, names in found.items()}

    async def _payments(self, merchant_id: str, payment_ids: set[str]) -> dict[str, Sequence[Any]]:
        rows = await self._connection.fetch(_PAYMENTS, merchant_id, sorted(payment_ids))
        return {row[0]: tuple(row) for row in rows}

    async def payments(self, merchant_id: str, payment_ids: Sequence[str]) -> list[Payment]:
        """Payments as routes read them, in no order."""
        rows = await self._connection.fetch(_PAYMENT_ROWS, merchant_id, payment_ids)
        return [Payment(**row) for row in rows]

    async def transactions(self, merchant_id: str, payment_ids: Sequence[str]) -> list[Transaction]:
        """All transactions of some payments, oldest first."""
        rows = await self._connection.fetch(_TRANSACTION_ROWS, merchant_id, payment_ids)
        return [Transaction(**row) for row in rows]

    async def about(self, merchant_id: str, references: Sequence[str]) -> list[Moved]:
        """All that ever moved under some references, oldest first."""
        return [Moved(*row) for row in await self._connection.fetch(_ABOUT, merchant_id, references)]

    async def unbooked(self, merchant_id: str, *, since: datetime, until: datetime, limit: int) -> list[str]:
        """Transactions that moved money by their own word, and of which the ledger knows nothing."""
        rows = await self._connection.fetch(_UNBOOKED, merchant_id, since, until, limit)
        return [row[0] for row in rows]

    async def balances(self, merchant_id: str, *, since: datetime, until: datetime) -> list[AccountBalance]:
        """The merchant's money by role, at both ends of a period; roles that hold nothing and held nothing left out."""
        rows = await self._connection.fetch(_BALANCES, merchant_id, since, until)
        return [AccountBalance(*row) for row in rows]


def _of_payment(names: Names, payment: Sequence[Any] | None) -> Names:
    if payment is None:
        return names
    _, out_trade_no, form, store_id, terminal_id, operator_id, order_minor, discount_minor = payment
    return replace(
        names,
        out_trade_no=out_trade_no,
        form=form,
        store_id=store_id or "",
        terminal_id=terminal_id or "",
        operator_id=operator_id or "",
        order_minor=order_minor,
        merchant_discount_minor=discount_minor,
    )


class BillRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[BillSnapshot]:
        """A repeatable read of all tenants, by the workers' role, on a connection of its own."""
        connection = await self._database.connect("job")
        try:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                yield BillSnapshot(connection)
        finally:
            await connection.close()

    async def bill(self, merchant_id: str, day: date) -> Bill | None:
        """The bill of a day, published or not."""
        return await self._one(merchant_id, table_of(Bill).c.day == day)

    async def bill_by_id(self, merchant_id: str, bill_id: str) -> Bill | None:
        """A bill by its id."""
        return await self._one(merchant_id, table_of(Bill).c.id == bill_id)

    async def last_published(self, merchant_id: str) -> Bill | None:
        """The newest bill that was published."""
        bills = table_of(Bill)
        query = (
            select(bills)
            .where(bills.c.merchant_id == merchant_id, bills.c.state == "published")
            .order_by(bills.c.day.desc())
            .limit(1)
        )
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Bill(**row)

    async def published(
        self, merchant_id: str, *, first: date | None, last: date | None, before: date | None, limit: int
    ) -> list[Bill]:
        """Published bills of days from `first` to `last`, newest first, of days before `before`."""
        bills = table_of(Bill)
        query = select(bills).where(bills.c.merchant_id == merchant_id, bills.c.state == "published")
        if first is not None:
            query = query.where(bills.c.day >= first)
        if last is not None:
            query = query.where(bills.c.day <= last)
        if before is not None:
            query = query.where(bills.c.day < before)
        async with self._database.read(merchant_id) as connection:
            rows = (await connection.execute(query.order_by(bills.c.day.desc()).limit(limit))).mappings()
            return [Bill(**row) for row in rows]

    async def _one(self, merchant_id: str, condition: Any) -> Bill | None:  # Any: an SQLAlchemy condition
        query = select(table_of(Bill)).where(col(Bill.merchant_id) == merchant_id, condition)
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Bill(**row)

    async def pieces(self, bill: Bill) -> AsyncIterator[bytes]:
        """The detail's deflate stream, piece by piece; each is one short read."""
        number = 0
        while True:
            query = select(col(BillPart.content)).where(
                col(BillPart.merchant_id) == bill.merchant_id,
                col(BillPart.bill_id) == bill.id,
                col(BillPart.run) == bill.run,
                col(BillPart.number) == number,
            )
            async with self._database.read(bill.merchant_id) as connection:
                piece: bytes | None = (await connection.execute(query)).scalar_one_or_none()
            if piece is None:
                return
            yield piece
            number += 1

    async def references_of(self, merchant_id: str, payment_id: str) -> list[str]:
        """What transfers of a payment name as their reference: the objects of every declared kind."""
        sql = " UNION ALL ".join(table.ids_sql() for table in catalogue().values())
        async with self._database.read_plainly(merchant_id) as connection:
            return [row[0] for row in await connection.fetch(sql, merchant_id, payment_id)]

    async def first_moved(self, merchant_id: str, since: datetime) -> datetime | None:
        """When the merchant's money first moved at or after a moment."""
        async with self._database.read(merchant_id) as connection:
            values: Mapping[str, object] = {"merchant_id": merchant_id, "since": since}
            return (await connection.execute(_FIRST_MOVED, values)).scalar_one_or_none()

    async def without_work(self, limit: int) -> list[str]:
        """For workers: merchants whose money moved behind their last bill, and whose next bill is nobody's work yet."""
        async with self._database.read_all() as connection:
            return list((await connection.execute(_WITHOUT_WORK, {"kind": MAKE, "limit": limit})).scalars())

    async def merchants(self) -> list[str]:
        """For workers: merchants who have a bill."""
        async with self._database.read_all() as connection:
            query = select(col(Bill.merchant_id)).where(col(Bill.state) == "published").distinct()
            return sorted((await connection.execute(query)).scalars())
