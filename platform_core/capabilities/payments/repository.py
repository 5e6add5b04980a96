"""All of payments' queries. Every one but those for workers names the tenant and runs under its row-level security."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import Select, func, select, text, tuple_, union_all
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlmodel import SQLModel, col

from platform_core.capabilities.payments.disputes.models import Dispute
from platform_core.capabilities.payments.models import (
    Attempt,
    ChannelAccount,
    FeePlan,
    NoticeSeen,
    Payment,
    Receipt,
    ReceiptBlob,
    Refund,
    RoutingRule,
    Transaction,
)
from platform_core.capabilities.payments.splits.models import Split, SplitReceiver, SplitShare
from platform_core.capabilities.payments.terms import Account, MerchantTerms, account_of, plan_of, rule_of
from platform_core.kernel.commit.idempotency import Replayed
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of
from platform_core.kernel.http.idempotency import IdempotentRequest, find_record

Table = TypeVar("Table", bound=SQLModel)


@dataclass(frozen=True, slots=True)
class PaymentFile:
    """A payment with all that was tried on it, oldest first, its refunds and disputes."""

    payment: Payment
    attempts: Sequence[Attempt]
    transactions: Sequence[Transaction]
    refunds: Sequence[Refund]
    disputes: Sequence[Dispute] = ()
    splits: Sequence[Split] = ()
    shares: Sequence[SplitShare] = ()
    receivers: Mapping[str, SplitReceiver] = field(default_factory=dict)
    """Of the shares, and of those that the order wished for; by id, bound or not."""

    def attempt(self, attempt_id: str) -> Attempt:
        """One of the attempts."""
        return next(attempt for attempt in self.attempts if attempt.id == attempt_id)

    def transaction(self, transaction_id: str) -> Transaction:
        """One of the transactions."""
        return next(transaction for transaction in self.transactions if transaction.id == transaction_id)

    def open_one(self, *kinds: str) -> Transaction | None:
        """The newest transaction of these kinds whose outcome is still to come."""
        found = [t for t in self.transactions if t.kind in kinds and t.state in ("pending", "unknown")]
        return found[-1] if found else None


CAPTURED_WITHIN: Final = timedelta(days=90)
_HAS_REFUND = text(
    "SELECT 1 FROM pay_refund WHERE merchant_id = :merchant_id AND payment_id = :payment_id "
    "AND out_request_no = :out_request_no"
)
_REFUNDS_SINCE = text(
    "SELECT count(*), coalesce(sum(amount_minor), 0) FROM pay_refund WHERE merchant_id = :merchant_id "
    "AND created_at >= :since AND currency = :currency AND state <> 'failed'"
)


class PaymentRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """For the repositories of payments' nouns."""
        return self._database

    async def payment_id(self, merchant_id: str, out_trade_no: str) -> str | None:
        """The payment with the merchant's own number."""
        query = select(col(Payment.id)).where(
            col(Payment.merchant_id) == merchant_id, col(Payment.out_trade_no) == out_trade_no
        )
        async with self._database.read(merchant_id) as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def file(self, merchant_id: str, payment_id: str) -> PaymentFile | None:
        """A payment with everything on it; None if this merchant has none such."""
        async with self._database.read_plainly(merchant_id) as connection:
            row = await connection.fetchrow(_FIND_PAYMENT, merchant_id, payment_id)
            if row is None:
                return None
            attempts = await connection.fetch(_OF_PAYMENT[Attempt], merchant_id, payment_id)
            transactions = await connection.fetch(_OF_PAYMENT[Transaction], merchant_id, payment_id)
            refunds = await connection.fetch(_OF_PAYMENT[Refund], merchant_id, payment_id)
            disputes = []
            if row["disputes"]:  # of most payments there are none, and nobody waits for a question about them
                disputes = await connection.fetch(_OF_PAYMENT[Dispute], merchant_id, payment_id)
            splits = shares = receivers = []
            if row["split_count"] or row["split_wish"] is not None:
                splits = await connection.fetch(_OF_PAYMENT[Split], merchant_id, payment_id)
                shares = await connection.fetch(_OF_PAYMENT[SplitShare], merchant_id, payment_id)
                wished = (row["split_wish"] or {}).get("shares", ())
                ids = {share["receiver_id"] for share in (*shares, *wished)}
                receivers = await connection.fetch(_RECEIVERS, merchant_id, sorted(ids))
        return PaymentFile(
            Payment(**row),
            [Attempt(**row) for row in attempts],
            [Transaction(**row) for row in transactions],
            [Refund(**row) for row in refunds],
            disputes=[Dispute(**row) for row in disputes],
            splits=[Split(**row) for row in splits],
            shares=[SplitShare(**row) for row in shares],
            receivers={row["id"]: SplitReceiver(**row) for row in receivers},
        )

    async def payment(self, merchant_id: str, payment_id: str) -> Payment | None:
        """The payment alone."""
        async with self._database.read_plainly(merchant_id) as connection:
            row = await connection.fetchrow(_FIND_PAYMENT, merchant_id, payment_id)
        return None if row is None else Payment(**row)

    async def payments(self, merchant_id: str, payment_ids: Sequence[str]) -> list[Payment]:
        """Those of the ids that are payments of the merchant, in no order."""
        query = select(table_of(Payment)).where(
            col(Payment.merchant_id) == merchant_id, col(Payment.id).in_(payment_ids)
        )
        async with self._database.read(merchant_id) as connection:
            return await _all(connection, Payment, query)

    async def parts(self, table: type[Table], merchant_id: str, payment_ids: Sequence[str]) -> list[Table]:
        """Rows of several payments in a table that names theirs, the oldest first."""
        columns = table_of(table).c
        query = select(table_of(table)).where(columns.merchant_id == merchant_id, columns.payment_id.in_(payment_ids))
        async with self._database.read(merchant_id) as connection:
            return await _all(connection, table, query.order_by(columns.created_at, columns.id))

    async def captured_between(
        self, merchant_id: str, since: datetime, until: datetime, *, after: str, limit: int
    ) -> list[str]:
        """Ids of captured payments whose last capture was in [since, until), in order, from behind `after` on."""
        query = (
            select(col(Payment.id))
            .where(
                col(Payment.merchant_id) == merchant_id,
                col(Payment.created_at) >= since - CAPTURED_WITHIN,  # for the index; no capture comes later than that
                col(Payment.created_at) < until,
                col(Payment.captured_at) >= since,
                col(Payment.captured_at) < until,
                col(Payment.state) == "captured",
                col(Payment.id) > after,
            )
            .order_by(col(Payment.id))
            .limit(limit)
        )
        async with self._database.read(merchant_id) as connection:
            return list((await connection.execute(query)).scalars())

    async def refund(self, merchant_id: str, refund_id: str) -> Refund | None:
        """One refund."""
        async with self._database.read(merchant_id) as connection:
            return await _one(connection, Refund, _own(Refund, merchant_id, refund_id))

    async def has_refund(self, merchant_id: str, payment_id: str, out_request_no: str) -> bool:
        """Whether a refund of this number was asked for."""
        values = {"merchant_id": merchant_id, "payment_id": payment_id, "out_request_no": out_request_no}
        async with self._database.read(merchant_id) as connection:
            return (await connection.execute(_HAS_REFUND, values)).first() is not None

    async def refunds_since(self, merchant_id: str, *, currency: str, since: datetime) -> tuple[int, int]:
        """How many refunds of the merchant's were asked for since then and did not fail, and their sum."""
        values = {"merchant_id": merchant_id, "currency": currency, "since": since}
        async with self._database.read(merchant_id) as connection:
            count, total = (await connection.execute(_REFUNDS_SINCE, values)).one()
            return int(count), int(total)

    async def receipt(self, merchant_id: str, receipt_id: str) -> Receipt | None:
        """One receipt, without its document."""
        async with self._database.read(merchant_id) as connection:
            return await _one(connection, Receipt, _own(Receipt, merchant_id, receipt_id))

    async def receipt_as(self, merchant_id: str, payment_id: str, *, media_type: str, locale: str) -> Receipt | None:
        """The payment's receipt of a media type in a language."""
        query = select(table_of(Receipt)).where(
            col(Receipt.merchant_id) == merchant_id,
            col(Receipt.payment_id) == payment_id,
            col(Receipt.media_type) == media_type,
            col(Receipt.locale) == locale,
        )
        async with self._database.read(merchant_id) as connection:
            return await _one(connection, Receipt, query)

    async def receipt_content(self, merchant_id: str, blob_id: str) -> bytes | None:
        """A document; None when it is no longer kept."""
        query = select(col(ReceiptBlob.content)).where(
            col(ReceiptBlob.merchant_id) == merchant_id, col(ReceiptBlob.id) == blob_id
        )
        async with self._database.read(merchant_id) as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def terms(self, merchant_id: str, now: datetime) -> MerchantTerms:
        """Channel accounts, routing rules and fee plans that hold now."""
        async with self._database.read(merchant_id) as connection:
            accounts = await _all(
                connection,
                ChannelAccount,
                select(table_of(ChannelAccount)).where(col(ChannelAccount.merchant_id) == merchant_id).order_by("id"),
            )
            rules = await _all(
                connection, RoutingRule, _valid(RoutingRule, merchant_id, now).order_by("position", "id")
            )
            plans = await _all(connection, FeePlan, _valid(FeePlan, merchant_id, now).order_by("valid_from", "id"))
            changes_at = (await connection.execute(_next_change(merchant_id, now))).scalar_one()
        return MerchantTerms(
            channel_accounts={row.id: account_of(row) for row in accounts},
            rules=tuple(map(rule_of, rules)),
            plans=tuple(map(plan_of, plans)),
            read_at=now,
            changes_at=changes_at,
        )

    async def is_settled(self, merchant_id: str, day: date, currency: str) -> bool:
        """Whether a booking day's money has been moved to available."""
        async with self._database.read_plainly(merchant_id) as connection:
            return await connection.fetchrow(_FIND_SETTLEMENT, merchant_id, day, currency) is not None

    async def page(
        self,
        table: type[Table],
        merchant_id: str,
        *,
        filters: Sequence[Any],  # SQLAlchemy conditions
        after: tuple[datetime, str] | None,
        is_ascending: bool,
        limit: int,
    ) -> list[Table]:
        """A page by keyset (created_at, id), one row more than asked so that the caller knows of a next page."""
        columns = table_of(table).c
        moment = columns.created_at
        query = select(table_of(table)).where(columns.merchant_id == merchant_id, *filters)
        if after is not None:
            key = tuple_(moment, columns.id)
            query = query.where(key > after if is_ascending else key < after)
        order = (
            (columns.created_at.asc(), columns.id.asc())
            if is_ascending
            else (columns.created_at.desc(), columns.id.desc())
        )
        async with self._database.read(merchant_id) as connection:
            return await _all(connection, table, query.order_by(*order).limit(limit + 1))

    async def idempotency_record(self, merchant_id: str, request: IdempotentRequest) -> Replayed | None:
        """What stands under a client's Idempotency-Key now."""
        return await find_record(self._database, merchant_id=merchant_id, request=request)

    async def owner_of_transaction(self, transaction_id: str) -> tuple[str, str] | None:
        """For workers and notices: merchant and payment of a transaction."""
        query = select(col(Transaction.merchant_id), col(Transaction.payment_id)).where(
            col(Transaction.id) == transaction_id
        )
        async with self._database.read_all() as connection:
            row = (await connection.execute(query)).first()
            return None if row is None else (row[0], row[1])

    async def owner_of_payment(self, payment_id: str) -> str | None:
        """For workers: the merchant of a payment."""
        query = select(col(Payment.merchant_id)).where(col(Payment.id) == payment_id)
        async with self._database.read_all() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def channel_account(self, channel_account_id: str) -> Account | None:
        """For notices, which come without a token: the account whose secrets verify them."""
        query = select(table_of(ChannelAccount)).where(col(ChannelAccount.id) == channel_account_id)
        async with self._database.read_all() as connection:
            row = await _one(connection, ChannelAccount, query)
        return None if row is None else account_of(row)

    async def has_notice(self, channel_account_id: str, notice_id: str) -> bool:
        """Whether a notice was taken already."""
        query = select(col(NoticeSeen.id)).where(
            col(NoticeSeen.channel_account_id) == channel_account_id, col(NoticeSeen.notice_id) == notice_id
        )
        async with self._database.read_all() as connection:
            return (await connection.execute(query)).first() is not None


def _columns(table: type[SQLModel]) -> str:
    return ", ".join(f'"{column.name}"' for column in table_of(table).columns)


_FIND_PAYMENT: Final = f"SELECT {_columns(Payment)} FROM pay_payment WHERE merchant_id = $1 AND id = $2"
_OF_PAYMENT: Final[Mapping[type[SQLModel], str]] = {
    table: f"SELECT {_columns(table)} FROM {table_of(table).name} WHERE merchant_id = $1 AND payment_id = $2 "
    "ORDER BY created_at, id"
    for table in (Attempt, Transaction, Refund, Dispute, Split, SplitShare)
}
_RECEIVERS: Final = (
    f"SELECT {_columns(SplitReceiver)} FROM pay_split_receiver WHERE merchant_id = $1 AND id = ANY($2::text[])"
)
_FIND_SETTLEMENT: Final = "SELECT 1 FROM pay_settlement WHERE merchant_id = $1 AND day = $2 AND currency = $3 LIMIT 1"


def _own(table: type[Table], merchant_id: str, id_: str) -> Select[Any]:
    """One row of the merchant's."""
    columns = table_of(table).c
    return select(table_of(table)).where(columns.id == id_, columns.merchant_id == merchant_id)


def _valid(table: type[Table], merchant_id: str, now: datetime) -> Select[Any]:
    columns = table_of(table).c
    return select(table_of(table)).where(
        columns.merchant_id == merchant_id,
        columns.valid_from <= now,
        (columns.valid_until.is_(None)) | (columns.valid_until > now),
    )


def _next_change(merchant_id: str, now: datetime) -> Select[Any]:
    """The first moment after `now` at which one of the merchant's rules or plans begins or ends; NULL if none does."""
    moments = [
        select(column.label("moment")).where(table.c.merchant_id == merchant_id, column > now)
        for table in (table_of(RoutingRule), table_of(FeePlan))
        for column in (table.c.valid_from, table.c.valid_until)
    ]
    return select(func.min(union_all(*moments).subquery().c.moment))


async def _one(connection: AsyncConnection, table: type[Table], query: Select[Any]) -> Table | None:
    row = (await connection.execute(query)).mappings().one_or_none()
    return None if row is None else table(**row)


async def _all(connection: AsyncConnection, table: type[Table], query: Select[Any]) -> list[Table]:
    return [table(**row) for row in (await connection.execute(query)).mappings()]
