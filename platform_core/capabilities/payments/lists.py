"""Lists: newest first by keyset, under the tenant's row-level security."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import select
from sqlmodel import SQLModel, col

from platform_core.capabilities.payments.answers import payment_answer, refund_answer
from platform_core.capabilities.payments.models import Payment, Refund
from platform_core.capabilities.payments.repository import PaymentRepository
from platform_core.identity.principal import Principal
from platform_core.kernel.database.tables import table_of
from platform_core.kernel.pagination import Cursors, Position

Bounds = tuple[datetime | int | None, datetime | int | None]  # from, and up to but without
Table = TypeVar("Table", bound=SQLModel)


class PaymentLists:
    """Pages of payments and refunds."""

    def __init__(self, repository: PaymentRepository, cursors: Cursors) -> None:
        self._repository = repository
        self._cursors = cursors

    async def payments(
        self,
        principal: Principal,
        equal: Mapping[str, str | None],
        between: Mapping[str, Bounds],
        *,
        is_ascending: bool,
        limit: int,
        cursor: str | None,
    ) -> dict[str, Any]:
        """Payments by columns equal to a value, or between two [from, to); None does not count."""
        conditions = _equal(Payment, equal)
        columns = table_of(Payment).c
        for name, (since, until) in between.items():
            if since is not None:
                conditions.append(columns[name] >= since)
            if until is not None:
                conditions.append(columns[name] < until)
        if principal.stores is not None:
            conditions.append(columns.store_id.in_(principal.stores))
        bound = {**equal, **{name: str(bounds) for name, bounds in between.items()}, "list": "payments"}
        return await self._page(
            Payment,
            principal,
            conditions=conditions,
            bound=bound,
            show=payment_answer,
            is_ascending=is_ascending,
            limit=limit,
            cursor=cursor,
        )

    async def refunds(
        self, principal: Principal, filters: Mapping[str, Any], *, is_ascending: bool, limit: int, cursor: str | None
    ) -> dict[str, Any]:
        """Refunds, of one payment or of all."""
        bound = {**filters, "list": "refunds"}
        conditions = _equal(Refund, filters)
        if principal.stores is not None:
            of_stores = select(col(Payment.id)).where(col(Payment.store_id).in_(principal.stores))
            conditions.append(col(Refund.payment_id).in_(of_stores))
        return await self._page(
            Refund,
            principal,
            conditions=conditions,
            bound=bound,
            show=refund_answer,
            is_ascending=is_ascending,
            limit=limit,
            cursor=cursor,
        )

    async def _page(
        self,
        table: type[Table],
        principal: Principal,
        *,
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
    return Position(row.created_at, row.id)  # type: ignore[attr-defined]  # every table has them


def _equal(table: type[SQLModel], filters: Mapping[str, Any]) -> list[Any]:
    columns = table_of(table).c
    return [columns[name] == value for name, value in filters.items() if value is not None]
