"""All queries of the ledger but those of `verify`. Each costs what it returns, however long the history is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Row,
    Select,
    func,
    literal,
    literal_column,
    select,
    text,
    tuple_,
    union,
    union_all,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from platform_core.kernel.database.tables import table_of
from platform_core.ledger.accounts import METER, Guard
from platform_core.ledger.models import LedgerAccount, LedgerPending, LedgerTransfer
from platform_core.ledger.records import (
    AccountActivity,
    AccountKey,
    AccountName,
    AccountRecord,
    CodeSums,
    DuePending,
    StatementPosition,
    StatementRow,
    TransferFilter,
    TransferRecord,
    UnitSums,
)

_A = table_of(LedgerAccount)
_T = table_of(LedgerTransfer)
_P = table_of(LedgerPending)
_MOVED = ("transfer", "post")
_ACCOUNT_COLUMNS: tuple[Any, ...] = (
    _A.c.id,
    _A.c.merchant_id,
    _A.c.unit,
    _A.c.owner,
    _A.c.role,
    _A.c.bucket,
    _A.c.guard,
    _A.c.debits_posted,
    _A.c.credits_posted,
    _A.c.debits_pending,
    _A.c.credits_pending,
)
_ACTIVITY = text(
    f"""
    SELECT {", ".join(f"a.{column.name}" for column in _ACCOUNT_COLUMNS)}, m.code, m.debits, m.credits
    FROM ledger_account a LEFT JOIN LATERAL (
      SELECT code, sum(debit) AS debits, sum(credit) AS credits FROM (
        SELECT code, amount AS debit, 0 AS credit FROM ledger_transfer
        WHERE debit_account = a.id AND kind IN ('transfer', 'post')
        UNION ALL
        SELECT code, 0, amount FROM ledger_transfer
        WHERE credit_account = a.id AND kind IN ('transfer', 'post')
      ) AS moved GROUP BY code
    ) AS m ON true
    WHERE a.unit = :unit AND a.owner = :owner AND a.role = :role AND a.bucket = :bucket
    """
)


async def accounts_of(
    connection: AsyncConnection,
    merchant_id: str,
    *,
    role: str | None,
    unit: str | None,
    bucket: str | None,
    after: tuple[str, int],
    limit: int,
) -> list[AccountRecord]:
    """A merchant's accounts by role and age; `after` is the role and id of the last one seen.

    Meters of limits are no value: they are shown to whoever asks for their role or unit.
    """
    query = select(*_ACCOUNT_COLUMNS).where(
        _A.c.merchant_id == merchant_id, tuple_(_A.c.role, _A.c.id) > tuple_(literal(after[0]), literal(after[1]))
    )
    if role is not None:
        query = query.where(_A.c.role == role)
    if unit is not None:
        query = query.where(_A.c.unit == unit)
    if bucket is not None:
        query = query.where(_A.c.bucket == bucket)
    if role is None and unit is None:
        query = query.where(_A.c.unit.not_like(f"{METER}%"))
    rows = await connection.execute(query.order_by(_A.c.role, _A.c.id).limit(limit))
    return [_account(row) for row in rows]


async def account_by_key(connection: AsyncConnection, key: AccountKey) -> AccountRecord | None:
    """The account, if the reader may see it."""
    query = select(*_ACCOUNT_COLUMNS).where(
        _A.c.unit == key.unit, _A.c.owner == key.owner, _A.c.role == key.role, _A.c.bucket == key.bucket
    )
    row = (await connection.execute(query)).one_or_none()
    return None if row is None else _account(row)


async def accounts_by_keys(connection: AsyncConnection, keys: Sequence[AccountKey]) -> list[AccountRecord]:
    """Those of the accounts that were ever opened and that the reader may see, in no order."""
    wanted = [(key.unit, key.owner, key.role, key.bucket) for key in keys]
    query = select(*_ACCOUNT_COLUMNS).where(tuple_(_A.c.unit, _A.c.owner, _A.c.role, _A.c.bucket).in_(wanted))
    return [_account(row) for row in await connection.execute(query)]


async def activity_of(connection: AsyncConnection, key: AccountKey) -> AccountActivity | None:
    """An account and what moved on it by code: one statement, so one snapshot. Reads all of the account's history."""
    values = {"unit": key.unit, "owner": key.owner, "role": key.role, "bucket": key.bucket}
    rows = (await connection.execute(_ACTIVITY, values)).all()
    if not rows:
        return None
    by_code = {code: CodeSums(int(debits), int(credits)) for *_, code, debits, credits in rows if code is not None}
    return AccountActivity(_account(rows[0][:-3]), by_code)


async def accounts_by_last_part(
    connection: AsyncConnection, merchant_id: str, *, role: str, unit: str, last_part: str, limit: int
) -> list[AccountRecord]:
    """Accounts of a role whose bucket ends in `/<last_part>` and on which something stands, by age."""
    query = select(*_ACCOUNT_COLUMNS).where(
        _A.c.merchant_id == merchant_id,
        _A.c.role == role,
        literal_column("substring(bucket from '[^/]*$')") == last_part,
        _A.c.bucket.like("%/%"),
        _A.c.unit == unit,
        _A.c.credits_posted != _A.c.debits_posted,
    )
    return [_account(row) for row in await connection.execute(query.order_by(_A.c.id).limit(limit))]


async def transfer_with_accounts(
    connection: AsyncConnection, transfer_id: str
) -> tuple[TransferRecord, AccountRecord, AccountRecord] | None:
    """A transfer with both its accounts, debited one first; None unless the reader may see all three."""
    row = (await connection.execute(_named(select(_T).where(_T.c.id == transfer_id).subquery()))).one_or_none()
    if row is None:
        return None
    query = select(*_ACCOUNT_COLUMNS).where(_A.c.id.in_([row.debit_account, row.credit_account]))
    accounts = {account.id: account for account in map(_account, await connection.execute(query))}
    if len(accounts) < 2:
        return None
    return _transfer(row), accounts[row.debit_account], accounts[row.credit_account]


async def statement_page(
    connection: AsyncConnection,
    account_id: int,
    *,
    window: tuple[datetime, datetime],
    after: StatementPosition | None,
    limit: int,
) -> tuple[int, int, list[StatementRow]]:
    """Balance at the window's start and end, and `limit` movements behind `after`: one statement, so one snapshot."""
    since, until = window
    queries = [
        _balance_before(account_id, since, tag="opening"),
        _balance_before(account_id, until, tag="closing"),
        _movements(account_id, since=since, until=until, after=after, limit=limit),
    ]
    opening = closing = 0
    found: list[StatementRow] = []
    for tag, *values in await connection.execute(union_all(*(select(query.subquery()) for query in queries))):
        if tag == "opening":
            opening = values[4]
        elif tag == "closing":
            closing = values[4]
        else:
            found.append(StatementRow(*values))
    return opening, closing, sorted(found, key=lambda row: (row.created_at, row.position))


async def transfers_of(
    connection: AsyncConnection,
    merchant_id: str,
    *,
    wanted: TransferFilter,
    before: StatementPosition | None,
    limit: int,
) -> list[TransferRecord]:
    """A merchant's transfers, newest first, older than `before`."""
    if wanted.role is not None or wanted.bucket is not None:
        found = _of_accounts(merchant_id, wanted, before=before, limit=limit)
    elif wanted.references is not None:
        # A reference has few transfers: find them by it before anything is sorted.
        cte = (
            select(_T)
            .where(_T.c.reference.in_(wanted.references))
            .cte("found")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        found = _newest(select(cte).where(*_filters(cte.c, merchant_id, wanted, before=before)), cte.c, limit)
    else:
        # The order of the merchant's index, which spells out where NULLs would stand if there were any.
        order = (_T.c.created_at.desc().nulls_last(), _T.c.position.desc().nulls_last())
        found = select(_T).where(*_filters(_T.c, merchant_id, wanted, before=before)).order_by(*order).limit(limit)
    page = found.subquery()
    query = _named(page).order_by(page.c.created_at.desc(), page.c.position.desc())
    return [_transfer(row) for row in await connection.execute(query)]


async def transfers_about(
    connection: AsyncConnection, merchant_id: str, references: Sequence[str]
) -> list[TransferRecord]:
    """All of a merchant's transfers of these references, oldest first."""
    found = select(_T).where(_T.c.merchant_id == merchant_id, _T.c.reference.in_(references)).subquery()
    query = _named(found).order_by(found.c.created_at, found.c.position)
    return [_transfer(row) for row in await connection.execute(query)]


async def unit_sums(connection: AsyncConnection) -> list[UnitSums]:
    """The sums of all accounts by unit. Costs one look at each account, none at the history."""
    sums = (_A.c.debits_posted, _A.c.credits_posted, _A.c.debits_pending, _A.c.credits_pending)
    query = select(_A.c.unit, func.count(), *map(func.sum, sums)).group_by(_A.c.unit).order_by(_A.c.unit)
    return [
        UnitSums(unit, count, *(int(value) for value in values))
        for unit, count, *values in await connection.execute(query)
    ]


async def due_pendings(connection: AsyncConnection, *, now: datetime, limit: int) -> list[DuePending]:
    """Pending transfers that should have ended by `now`, oldest first."""
    query = (
        select(_P.c.id, _P.c.merchant_id, _P.c.expires_at)
        .where(_P.c.state == literal_column("'pending'"), _P.c.expires_at <= now)
        .order_by(_P.c.expires_at)
        .limit(limit)
    )
    return [DuePending(*row) for row in await connection.execute(query)]


def _account(row: Sequence[Any]) -> AccountRecord:
    id_, merchant_id, unit, owner, role, bucket, guard, *sums = row
    return AccountRecord(id_, merchant_id, unit, owner, role, bucket, Guard(guard), *sums)


def _balance_before(account_id: int, moment: datetime, *, tag: str) -> Select[Any]:
    """The last row of an account before a moment: each side's last one by its index, then the later of the two."""
    sides = [
        select(_T.c.created_at, _T.c.position, after.label("balance"))
        .where(account == account_id, _T.c.created_at < moment)
        .order_by(_T.c.created_at.desc(), _T.c.position.desc())
        .limit(1)
        for account, after in ((_T.c.debit_account, _T.c.debit_after), (_T.c.credit_account, _T.c.credit_after))
    ]
    both = union_all(*(select(side.subquery()) for side in sides)).subquery()
    return (
        select(
            literal(tag).label("tag"),
            both.c.position,
            literal("").label("id"),
            literal("").label("kind"),
            literal(0).label("amount"),
            both.c.balance,
            literal("").label("code"),
            literal("").label("reference"),
            both.c.created_at,
        )
        .order_by(both.c.created_at.desc(), both.c.position.desc())
        .limit(1)
    )


def _movements(
    account_id: int, *, since: datetime, until: datetime, after: StatementPosition | None, limit: int
) -> Select[Any]:
    sides: list[Select[Any]] = []
    for account, sign, balance in (
        (_T.c.debit_account, -1, _T.c.debit_after),
        (_T.c.credit_account, 1, _T.c.credit_after),
    ):
        query = select(
            literal("row").label("tag"),
            _T.c.position,
            _T.c.id,
            _T.c.kind,
            (_T.c.amount * sign).label("amount"),
            balance.label("balance"),
            _T.c.code,
            _T.c.reference,
            _T.c.created_at,
        ).where(account == account_id, _T.c.created_at >= since, _T.c.created_at < until, _T.c.kind.in_(_MOVED))
        if after is not None:
            query = query.where(_behind(_T.c) > tuple_(literal(after.created_at), literal(after.position)))
        sides.append(query.order_by(_T.c.created_at, _T.c.position).limit(limit))
    both = union_all(*(select(side.subquery()) for side in sides)).subquery()
    return select(both).order_by(both.c.created_at, both.c.position).limit(limit)


def _behind(columns: Any) -> Any:
    return tuple_(columns.created_at, columns.position)


def _filters(
    columns: Any, merchant_id: str, wanted: TransferFilter, *, before: StatementPosition | None
) -> Sequence[ColumnElement[bool]]:
    conditions = [columns.merchant_id == merchant_id]
    if wanted.references is not None:
        conditions.append(columns.reference.in_(wanted.references))
    if wanted.code is not None:
        conditions.append(columns.code == wanted.code)
    if wanted.since is not None:
        conditions.append(columns.created_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(columns.created_at < wanted.until)
    if before is not None:
        conditions.append(_behind(columns) < tuple_(literal(before.created_at), literal(before.position)))
    return conditions


def _newest(query: Select[Any], columns: Any, limit: int) -> Select[Any]:
    return query.order_by(columns.created_at.desc(), columns.position.desc()).limit(limit)


def _of_accounts(
    merchant_id: str, wanted: TransferFilter, *, before: StatementPosition | None, limit: int
) -> Select[Any]:
    """The newest of each account in the role and the bucket, by the two indexes, then the newest of those."""
    chosen = select(_A.c.id).where(_A.c.merchant_id == merchant_id)
    if wanted.role is not None:
        chosen = chosen.where(_A.c.role == wanted.role)
    if wanted.bucket is not None:
        chosen = chosen.where(_A.c.bucket == wanted.bucket)
    accounts = chosen.subquery()
    sides = []
    for side in (_T.c.debit_account, _T.c.credit_account):
        conditions = _filters(_T.c, merchant_id, wanted, before=before)
        newest = _newest(select(_T).where(side == accounts.c.id, *conditions), _T.c, limit).lateral()
        sides.append(select(newest).select_from(accounts.join(newest, literal_column("true"))))
    both = union(*sides).subquery()  # a transfer between two accounts of the role is one
    return _newest(select(both), both.c, limit)


def _named(page: FromClause) -> Select[Any]:
    debit, credit = _A.alias("debit"), _A.alias("credit")
    joined = page.outerjoin(debit, debit.c.id == page.c.debit_account).outerjoin(
        credit, credit.c.id == page.c.credit_account
    )
    return select(
        page,
        debit.c.owner.label("debit_owner"),
        debit.c.role.label("debit_role"),
        debit.c.bucket.label("debit_bucket"),
        credit.c.owner.label("credit_owner"),
        credit.c.role.label("credit_role"),
        credit.c.bucket.label("credit_bucket"),
    ).select_from(joined)


def _transfer(row: Row[Any]) -> TransferRecord:
    return TransferRecord(
        position=row.position,
        id=row.id,
        merchant_id=row.merchant_id,
        kind=row.kind,
        debit=None if row.debit_role is None else AccountName(row.debit_owner, row.debit_role, row.debit_bucket),
        credit=None if row.credit_role is None else AccountName(row.credit_owner, row.credit_role, row.credit_bucket),
        unit=row.unit,
        amount=row.amount,
        pending_id=row.pending_id,
        reverses=row.reverses,
        code=row.code,
        reference=row.reference,
        created_at=row.created_at,
        expires_at=row.expires_at,
    )
