"""Disputes, newest first by keyset."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlmodel import col

from platform_core.capabilities.payments.disputes.answers import dispute_answer
from platform_core.capabilities.payments.disputes.models import Dispute
from platform_core.capabilities.payments.models import Payment
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.identity.principal import Principal
from platform_core.kernel.pagination import Cursors, Position


class DisputeLists:
    """Pages of disputes."""

    def __init__(self, repository: PaymentRepository, cursors: Cursors) -> None:
        self._repository = repository
        self._cursors = cursors

    async def page(
        self,
        principal: Principal,
        *,
        state: str | None,
        payment_id: str | None,
        due: tuple[datetime | None, datetime | None],
        is_ascending: bool,
        limit: int,
        cursor: str | None,
    ) -> dict[str, Any]:
        """Disputes of a state, of a payment, due in [from, to); None does not count."""
        merchant_id = str(principal.merchant_id)
        filters: list[Any] = []  # SQLAlchemy conditions
        if state is not None:
            filters.append(col(Dispute.state) == state)
        if payment_id is not None:
            filters.append(col(Dispute.payment_id) == payment_id)
        since, until = due
        if since is not None:
            filters.append(col(Dispute.due_at) >= since)
        if until is not None:
            filters.append(col(Dispute.due_at) < until)
        if principal.stores is not None:
            of_stores = select(col(Payment.id)).where(col(Payment.store_id).in_(principal.stores))
            filters.append(col(Dispute.payment_id).in_(of_stores))
        asked = {"state": state, "payment_id": payment_id, "due": str(due), "list": "disputes"}
        bound_to = {**asked, "merchant": merchant_id, "ascending": is_ascending}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._repository.page(
            Dispute,
            merchant_id,
            filters=filters,
            after=None if after is None else (after.created_at, after.id),
            is_ascending=is_ascending,
            limit=limit,
        )
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=lambda row: Position(row.created_at, row.id),
            show=lambda row: dispute_answer(row.model_dump()),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}
