"""Lists: newest first by keyset, under the tenant's row-level security."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlmodel import SQLModel, col

from platform_core.capabilities.payments.answers import payment_answer, refund_answer, settlement_answer
from platform_core.capabilities.payments.errors import NOT_FOUND
from platform_core.capabilities.payments.models import Payment, Refund, Settlement
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.identity.principal import Principal
from platform_core.kernel.pagination import Cursors, Position

Table = TypeVar("Table", bound=SQLModel)


class PaymentLists:
    """Pages of payments, refunds and settlements."""

    def __init__(self, repository: PaymentRepository, cursors: Cursors) -> None:
        self._repository = repository
        self._cursors = cursors

    async def payments(
        self,
        principal: Principal,
        filters: Mapping[str, Any],
        created: tuple[datetime | None, datetime | None],
        *,
        is_ascending: bool,
        limit: int,
        cursor: str | None,
    ) -> dict[str, Any]:
        """Payments by state, form, store, number and moment of creation [from, to)."""
        conditions = _equal(Payment, filters)
        since, until = created
        if since is not None:
            conditions.append(col(Payment.created_at) >= since)
        if until is not None:
            conditions.append(col(Payment.created_at) < until)
        bound = {**filters, "from": str(since), "to": str(until), "list": "payments"}
        return await self._page(Payment, principal, conditions, bound, payment_answer, is_ascending, limit, cursor)

    async def refunds(
        self, principal: Principal, filters: Mapping[str, Any], *, is_ascending: bool, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Refunds, of one payment or of all."""
        bound = {**filters, "list": "refunds"}
        conditions = _equal(Refund, filters)
        return await self._page(Refund, principal, conditions, bound, refund_answer, is_ascending, limit, cursor)

    async def settlements(self, principal: Principal, *, limit: int, cursor: str | None) -> dict[str, Any]:
        """Settlements, newest first."""
        bound = {"list": "settlements"}
        return await self._page(Settlement, principal, [], bound, settlement_answer, False, limit, cursor)

    async def refund(self, principal: Principal, refund_id: str) -> Refund:
        """One refund. Raises 404 `payments.not_found`."""
        refund = await self._repository.refund(str(principal.merchant_id), refund_id)
        if refund is None:
            raise NOT_FOUND.error({"kind": "refund", "id": refund_id})
        return refund

    async def _page(
        self,
        table: type[Table],
        principal: Principal,
        conditions: Sequence[Any],  # SQLAlchemy conditions
        bound: Mapping[str, object],
        show: Callable[[Mapping[str, Any]], dict[str, Any]],
        is_ascending: bool,
        limit: int,
        cursor: str | None,
    ) -> dict[str, Any]:
        merchant_id = str(principal.merchant_id)
        bound_to = {**bound, "merchant": merchant_id, "ascending": is_ascending}
        after = None if cursor is None else self._cursors.read(cursor, bound_to=bound_to)
        rows = await self._repository.page(
            table,
            merchant_id,
            filters=conditions,
            after=None if after is None else (after.created_at, after.id),
            is_ascending=is_ascending,
            limit=limit,
        )
        page = self._cursors.page(
            rows,
            limit=limit,
            bound_to=bound_to,
            position_of=_position,
            show=lambda row: show(row.model_dump()),
        )
        return {"data": page.data, "next_cursor": page.next_cursor}


def _position(row: SQLModel) -> Position:
    moment = row.settled_at if isinstance(row, Settlement) else row.created_at  # type: ignore[attr-defined]  # all others have it
    return Position(moment, row.id)  # type: ignore[attr-defined]  # every table has it


def _equal(table: type[SQLModel], filters: Mapping[str, Any]) -> list[Any]:
    columns = table.__table__.c  # type: ignore[attr-defined]  # SQLModel adds it
    return [columns[name] == value for name, value in filters.items() if value is not None]
