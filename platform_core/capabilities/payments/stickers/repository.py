"""Queries of stickers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlmodel import col

from platform_core.capabilities.payments.stickers.models import Sticker, StickerUse
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of
from platform_core.kernel.pagination import Position


class StickerRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, merchant_id: str, sticker_id: str) -> Sticker | None:
        """One sticker of the merchant's."""
        query = select(table_of(Sticker)).where(col(Sticker.id) == sticker_id, col(Sticker.merchant_id) == merchant_id)
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Sticker(**row)

    async def page(
        self, merchant_id: str, *, stores: frozenset[str] | None, after: Position | None, limit: int
    ) -> Sequence[Sticker]:
        """The merchant's, newest first; `stores`: only of these."""
        table = table_of(Sticker)
        query = select(table).where(table.c.merchant_id == merchant_id)
        if stores is not None:
            query = query.where(table.c.store_id.in_(sorted(stores)))
        if after is not None:
            query = query.where(tuple_(table.c.created_at, table.c.id) < (after.created_at, after.id))
        query = query.order_by(table.c.created_at.desc(), table.c.id.desc()).limit(limit)
        async with self._database.read(merchant_id) as connection:
            return [Sticker(**row) for row in (await connection.execute(query)).mappings()]

    async def by_code(self, code: str) -> Sticker | None:
        """For customers, who come without a token: the sticker that they scanned."""
        query = select(table_of(Sticker)).where(col(Sticker.code) == code)
        async with self._database.read_all() as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Sticker(**row)

    async def places_taken(self, sticker: Sticker, minute: datetime) -> int:
        """The highest place that is taken of a minute's; 0: none is."""
        query = select(func.coalesce(func.max(col(StickerUse.place)), 0)).where(
            col(StickerUse.merchant_id) == sticker.merchant_id,
            col(StickerUse.sticker_id) == sticker.id,
            col(StickerUse.minute) == minute,
        )
        async with self._database.read(sticker.merchant_id) as connection:
            return int((await connection.execute(query)).scalar_one())
