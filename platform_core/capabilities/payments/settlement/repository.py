"""Settlement's queries."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import select, tuple_
from sqlmodel import col

from platform_core.capabilities.payments.settlement.models import Settlement
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of


class SettlementRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def settlement(self, merchant_id: str, settlement_id: str) -> Settlement | None:
        """One settlement."""
        query = select(table_of(Settlement)).where(
            col(Settlement.id) == settlement_id, col(Settlement.merchant_id) == merchant_id
        )
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Settlement(**row)

    async def page(self, merchant_id: str, *, after: tuple[datetime, str] | None, limit: int) -> list[Settlement]:
        """The newest first by keyset (settled_at, id), one row more than asked."""
        columns = table_of(Settlement).c
        query = select(table_of(Settlement)).where(columns.merchant_id == merchant_id)
        if after is not None:
            query = query.where(tuple_(columns.settled_at, columns.id) < after)
        query = query.order_by(columns.settled_at.desc(), columns.id.desc()).limit(limit + 1)
        async with self._database.read(merchant_id) as connection:
            return [Settlement(**row) for row in (await connection.execute(query)).mappings()]

    async def parts(self, merchant_id: str, day: date, currency: str) -> int:
        """How often a booking day was settled already."""
        query = select(col(Settlement.part)).where(
            col(Settlement.merchant_id) == merchant_id, col(Settlement.day) == day, col(Settlement.currency) == currency
        )
        async with self._database.read_all() as connection:
            return len((await connection.execute(query)).all())
