"""Settlement's queries."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, datetime

from sqlalchemy import func, select, tuple_
from sqlmodel import col

from platform_core.capabilities.payments.settlement.figures import DayFigures
from platform_core.capabilities.payments.settlement.models import (
    AcquirerPayout,
    Holiday,
    Reserve,
    ReservePlan,
    Settlement,
)
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

    async def figures_of_parts(self, merchant_id: str, day: date, currency: str) -> tuple[DayFigures, int]:
        """What the settlements of a booking day have told so far, summed up, and how many there are."""
        names = [field.name for field in fields(DayFigures)]
        columns = table_of(Settlement).c
        query = select(func.count(), *(func.coalesce(func.sum(columns[name]), 0) for name in names)).where(
            columns.merchant_id == merchant_id, columns.day == day, columns.currency == currency
        )
        async with self._database.read(merchant_id) as connection:
            count, *sums = (await connection.execute(query)).one()
        return DayFigures(**{name: int(value) for name, value in zip(names, sums, strict=True)}), int(count)

    async def holidays(self, *, since: date) -> frozenset[date]:
        """The operator's holidays from a day on."""
        query = select(col(Holiday.day)).where(col(Holiday.day) >= since)
        async with self._database.read_all() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def holiday_rows(self, *, since: date) -> list[Holiday]:
        """The same with their names, in order."""
        query = select(table_of(Holiday)).where(col(Holiday.day) >= since).order_by(col(Holiday.day))
        async with self._database.read_all() as connection:
            return [Holiday(**row) for row in (await connection.execute(query)).mappings()]

    async def reserve_plan(self, merchant_id: str, currency: str, *, now: datetime) -> ReservePlan | None:
        """The newest plan that has begun; None: nothing is kept back."""
        columns = table_of(ReservePlan).c
        query = (
            select(table_of(ReservePlan))
            .where(columns.merchant_id == merchant_id, columns.currency == currency, columns.valid_from <= now)
            .order_by(columns.valid_from.desc(), columns.id.desc())
            .limit(1)
        )
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else ReservePlan(**row)

    async def reserve(self, reserve_id: str) -> Reserve | None:
        """For workers: what one settlement kept back."""
        query = select(table_of(Reserve)).where(col(Reserve.id) == reserve_id)
        async with self._database.read_all() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Reserve(**row)

    async def acquirer_payout(self, merchant_id: str, channel_account_id: str, reference: str) -> AcquirerPayout | None:
        """What was booked under an acquirer's reference."""
        query = select(table_of(AcquirerPayout)).where(
            col(AcquirerPayout.merchant_id) == merchant_id,
            col(AcquirerPayout.channel_account_id) == channel_account_id,
            col(AcquirerPayout.reference) == reference,
        )
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else AcquirerPayout(**row)
