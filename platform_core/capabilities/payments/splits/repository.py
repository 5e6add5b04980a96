"""Queries of splits. Every one but `owner_of_split` names the tenant and runs under its row-level security."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date
from typing import Any

from sqlalchemy import Select, select
from sqlmodel import SQLModel, col

from platform_core.capabilities.payments.settlement.models import Settlement
from platform_core.capabilities.payments.splits.models import (
    Split,
    SplitBinding,
    SplitPolicy,
    SplitReceiver,
    SplitShare,
)
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of


class SplitRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def receivers(self, merchant_id: str, ids: Collection[str]) -> dict[str, SplitReceiver]:
        """Those of the ids that are receivers of the merchant, bound or not."""
        query = _of(SplitReceiver, merchant_id).where(col(SplitReceiver.id).in_(ids))
        return {row["id"]: SplitReceiver(**row) for row in await self._rows(merchant_id, query)}

    async def bound_as(self, merchant_id: str, references: Collection[str]) -> dict[str, SplitReceiver]:
        """The receivers that are bound under these references now."""
        query = _of(SplitReceiver, merchant_id).where(col(SplitReceiver.bound_as).in_(references))
        return {row["reference"]: SplitReceiver(**row) for row in await self._rows(merchant_id, query)}

    async def policy(self, merchant_id: str) -> SplitPolicy | None:
        """What the merchant may split; None: as the platform says, and nobody is bound."""
        rows = await self._rows(merchant_id, _of(SplitPolicy, merchant_id))
        return SplitPolicy(**rows[0]) if rows else None

    async def binding(self, merchant_id: str, kind: str, out_request_no: str) -> SplitBinding | None:
        """What was asked for under a number."""
        query = _of(SplitBinding, merchant_id).where(
            col(SplitBinding.kind) == kind, col(SplitBinding.out_request_no) == out_request_no
        )
        rows = await self._rows(merchant_id, query)
        return SplitBinding(**rows[0]) if rows else None

    async def split(self, merchant_id: str, split_id: str) -> Split | None:
        """One split."""
        rows = await self._rows(merchant_id, _of(Split, merchant_id).where(col(Split.id) == split_id))
        return Split(**rows[0]) if rows else None

    async def shares(self, merchant_id: str, split_ids: Sequence[str]) -> dict[str, list[SplitShare]]:
        """By split, in their order."""
        query = _of(SplitShare, merchant_id).where(col(SplitShare.split_id).in_(split_ids))
        found: dict[str, list[SplitShare]] = defaultdict(list)
        for row in await self._rows(merchant_id, query.order_by(col(SplitShare.split_id), col(SplitShare.number))):
            found[row["split_id"]].append(SplitShare(**row))
        return found

    async def settled_days(self, merchant_id: str, days: Collection[date], *, currency: str) -> frozenset[date]:
        """Which of these booking days have been settled, at least in part."""
        query = select(col(Settlement.day)).where(
            col(Settlement.merchant_id) == merchant_id,
            col(Settlement.currency) == currency,
            col(Settlement.day).in_(days),
        )
        return frozenset(row["day"] for row in await self._rows(merchant_id, query))

    async def owner_of_split(self, split_id: str) -> tuple[str, str] | None:
        """For workers: merchant and payment of a split."""
        query = select(col(Split.merchant_id), col(Split.payment_id)).where(col(Split.id) == split_id)
        async with self._database.read_all() as connection:
            row = (await connection.execute(query)).first()
            return None if row is None else (row[0], row[1])

    async def _rows(self, merchant_id: str, query: Select[Any]) -> Sequence[Mapping[str, Any]]:
        async with self._database.read(merchant_id) as connection:
            return list((await connection.execute(query)).mappings())


def _of(table: type[SQLModel], merchant_id: str) -> Select[Any]:
    return select(table_of(table)).where(table_of(table).c.merchant_id == merchant_id)
