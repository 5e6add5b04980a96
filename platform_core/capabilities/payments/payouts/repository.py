"""Payouts' queries."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import Select, select, tuple_
from sqlmodel import SQLModel, col

from platform_core.capabilities.payments.payouts.models import Payout, PayoutTerms, TopUp
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of

Table = TypeVar("Table", bound=SQLModel)


class PayoutRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def payout(self, merchant_id: str, payout_id: str) -> Payout | None:
        """One payout."""
        query = select(table_of(Payout)).where(col(Payout.merchant_id) == merchant_id, col(Payout.id) == payout_id)
        return await self._one(Payout, query, merchant_id)

    async def payout_of(self, payout_id: str) -> Payout | None:
        """For workers: a payout of whatever merchant."""
        return await self._one(Payout, select(table_of(Payout)).where(col(Payout.id) == payout_id), None)

    async def payouts(
        self, merchant_id: str, *, state: str | None, after: tuple[datetime, str] | None, limit: int
    ) -> list[Payout]:
        """The newest first by keyset (created_at, id), one row more than asked."""
        columns = table_of(Payout).c
        query = select(table_of(Payout)).where(columns.merchant_id == merchant_id)
        if state is not None:
            query = query.where(columns.state == state)
        if after is not None:
            query = query.where(tuple_(columns.created_at, columns.id) < after)
        query = query.order_by(columns.created_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._database.read(merchant_id) as connection:
            return [Payout(**row) for row in (await connection.execute(query)).mappings()]

    async def terms(self, merchant_id: str, currency: str) -> PayoutTerms | None:
        """How the merchant is paid out in a currency; None: by the platform's defaults."""
        query = select(table_of(PayoutTerms)).where(
            col(PayoutTerms.merchant_id) == merchant_id, col(PayoutTerms.currency) == currency
        )
        return await self._one(PayoutTerms, query, merchant_id)

    async def all_terms(self, merchant_id: str) -> Sequence[PayoutTerms]:
        """By currency."""
        columns = table_of(PayoutTerms).c
        query = select(table_of(PayoutTerms)).where(columns.merchant_id == merchant_id).order_by(columns.currency)
        async with self._database.read(merchant_id) as connection:
            return [PayoutTerms(**row) for row in (await connection.execute(query)).mappings()]

    async def top_up(self, top_up_id: str) -> TopUp | None:
        """For the operator: one top-up."""
        return await self._one(TopUp, select(table_of(TopUp)).where(col(TopUp.id) == top_up_id), None)

    async def top_up_of(self, bank_account: str, reference: str) -> TopUp | None:
        """For the operator: what waits, or was booked, for a line of a bank's statement."""
        query = select(table_of(TopUp)).where(
            col(TopUp.bank_account) == bank_account, col(TopUp.reference) == reference, col(TopUp.state) != "refused"
        )
        return await self._one(TopUp, query.limit(1), None)

    async def _one(self, table: type[Table], query: Select[Any], merchant_id: str | None) -> Table | None:
        reading = self._database.read_all() if merchant_id is None else self._database.read(merchant_id)
        async with reading as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else table(**row)
