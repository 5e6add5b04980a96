"""All of disputes' queries."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import select
from sqlmodel import col

from platform_core.capabilities.payments.disputes.models import Dispute, DisputeDocument
from platform_core.kernel.database.pools import Database
from platform_core.kernel.database.tables import table_of


class DisputeRepository:
    """Reads; writes are plans."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def dispute(self, merchant_id: str, dispute_id: str) -> Dispute | None:
        """One of the merchant's."""
        query = select(table_of(Dispute)).where(col(Dispute.merchant_id) == merchant_id, col(Dispute.id) == dispute_id)
        async with self._database.read(merchant_id) as connection:
            row = (await connection.execute(query)).mappings().one_or_none()
        return None if row is None else Dispute(**row)

    async def of_worker(self, dispute_id: str) -> Dispute | None:
        """For workers and operators: one of whomever."""
        async with self._database.read_all() as connection:
            row = (
                (await connection.execute(select(table_of(Dispute)).where(col(Dispute.id) == dispute_id)))
                .mappings()
                .one_or_none()
            )
        return None if row is None else Dispute(**row)

    async def documents(self, merchant_id: str, dispute_id: str) -> list[dict[str, Any]]:
        """What the merchant sent, the oldest first, without its bytes."""
        query = (
            select(*_WITHOUT_CONTENT)
            .where(col(DisputeDocument.merchant_id) == merchant_id, col(DisputeDocument.dispute_id) == dispute_id)
            .order_by(col(DisputeDocument.created_at), col(DisputeDocument.id))
        )
        async with self._database.read(merchant_id) as connection:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

    async def content(self, merchant_id: str, document_id: str) -> bytes:
        """The bytes of a document."""
        query = select(col(DisputeDocument.content)).where(
            col(DisputeDocument.merchant_id) == merchant_id, col(DisputeDocument.id) == document_id
        )
        async with self._database.read(merchant_id) as connection:
            return bytes((await connection.execute(query)).scalar_one())


_WITHOUT_CONTENT: Final = [column for column in table_of(DisputeDocument).c if column.name != "content"]
